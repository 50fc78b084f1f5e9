"""Hunyuan-A13B: a shared expert in every layer, one norm vector for queries, one for keys."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, check_selection, routing
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    if keys.flag_or(False, "use_cla"):
        raise keys.error("use_cla", "may be false: attention across layers is not understood")
    has_bias = keys.flag_or(False, "attention_bias")
    num_experts = _uniform(keys, "num_experts")
    top_k = _uniform(keys, "moe_topk")
    check_selection(keys, "moe_topk", num_experts, top_k)
    width = keys.count("intermediate_size")
    experts = Experts(
        num_experts=num_experts,
        top_k=top_k,
        intermediate=_uniform(keys, "moe_intermediate_size")
        if keys.has("moe_intermediate_size")
        else width,
        shared=width
        * (_uniform(keys, "num_shared_expert") if keys.has("num_shared_expert") else 1),
        shared_name="shared_mlp",
    )
    has_norm = keys.flag_or(True, "use_qk_norm")
    traits = GroupedTraits(
        has_bias=has_bias, has_output_bias=has_bias, norm="head" if has_norm else None
    )
    stack = Stack(
        attention=[grouped(keys, traits)] * num_layers,
        routed=routing(keys, range(num_layers)),
        experts=experts,
    )
    return decoder_of(keys, stack)


def _uniform(keys: ConfigKeys, name: str) -> int:
    """Return the count of a key, which may be a list with the same count for each layer.

    Raises InputError for layers that differ.
    """
    if not isinstance(keys.value(name), list | tuple):
        return keys.count(name)
    items = keys.per_layer(name, keys.count("num_hidden_layers"))
    # All layers are built alike here, so numbers that differ would be lost.
    if any(item != items[0] or isinstance(item, bool) for item in items):
        raise keys.error(name, f"must be the same in all layers, got {shown(items)}")
    return ConfigKeys({name: items[0]}, keys.where, keys.prefix).count(name)


HUNYUAN_V1_MOE = Family(
    name="hunyuan_v1_moe",
    decode=_decode,
    aliases=("hunyuan",),
    idle=("cla_share_factor", "moe_layer_num_skipped", "attention_head_dim", "q_lora_rank"),
)
