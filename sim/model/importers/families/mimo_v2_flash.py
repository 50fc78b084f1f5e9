"""MiMo-V2-Flash: values narrower than keys; windowed layers have heads and sinks of their own."""

from sim.model.importers.attention import GroupedTraits, Heads, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, flagged_kinds, selection
from sim.model.importers.stack import Stack, decoder_of

_IS_WINDOWED = {0: False, 1: True, "full_attention": False, "sliding_attention": True}


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    full = grouped(keys, GroupedTraits(has_bias=has_bias), _heads(keys, ""))
    sinks = GroupedTraits(has_bias=has_bias, has_sinks=True)
    window = keys.count("sliding_window", "sliding_window_size")
    windowed = grouped(keys, sinks, _heads(keys, "swa_")).windowed([window])[0]
    name = "hybrid_layer_pattern" if keys.has("hybrid_layer_pattern") else "layer_types"
    is_windowed = keys.layer_kinds(name, num_layers, _IS_WINDOWED)
    routed = flagged_kinds(keys, num_layers)
    stack = Stack(
        attention=[windowed if has_window else full for has_window in is_windowed],
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=Experts(
            **selection(keys),
            intermediate=keys.count("moe_intermediate_size"),
            router_vectors=1,
        ),
    )
    return decoder_of(keys, stack)


def _heads(keys: ConfigKeys, prefix: str) -> Heads:
    """Heads of full layers, or of windowed ones, whose keys have a prefix in the original files."""
    kv_heads = keys.count("num_key_value_heads")
    if prefix:
        # transformers' own files leave them out: twice the keys and values
        kv_heads = (
            keys.count("swa_num_key_value_heads")
            if keys.has("swa_num_key_value_heads")
            else 2 * kv_heads
        )
    return Heads(
        num_queries=_either(keys, prefix, "num_attention_heads"),
        num_keys=kv_heads,
        key_dim=_either(keys, prefix, "head_dim"),
        value_dim=_either(keys, prefix, "v_head_dim"),
    )


def _either(keys: ConfigKeys, prefix: str, name: str) -> int:
    return keys.count(prefix + name) if keys.has(prefix + name) else keys.count(name)


MIMO_V2_FLASH = Family(
    name="mimo_v2_flash",
    decode=_decode,
    required=("head_dim", "v_head_dim"),
    idle=(
        "intermediate_size",
        "n_shared_experts",
        "add_swa_attention_sink_bias",
        "hybrid_block_size",
    ),
)
