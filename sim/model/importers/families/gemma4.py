"""Gemma 4: wider heads where attention is full; in 26B-A4B experts beside the dense block of every
layer.
"""

from collections.abc import Sequence
from dataclasses import replace

from sim.model.importers.attention import GroupedTraits, Heads, grouped
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.weights import loose
from sim.model.importers.windows import windows
from sim.model.model import TensorClass

_NORMS = 4
_NORMS_WITH_EXPERTS = 7


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    _refuse_small_shapes(keys)
    scalar = loose("layer_scalar", TensorClass.NORM, 1)
    attention = [
        replace(each, weights=(*each.weights, *scalar)) for each in _attention(keys, num_layers)
    ]
    if keys.flag("enable_moe_block"):
        return decoder_of(keys, _with_experts(keys, attention))
    return decoder_of(keys, Stack(attention=attention, dense=dense_weights(keys), num_norms=_NORMS))


def _with_experts(keys: ConfigKeys, attention: Sequence[AttentionWeights]) -> Stack:
    experts = Experts(
        **selection(keys, ("num_experts",), ("top_k_experts", "num_experts_per_tok")),
        intermediate=keys.count("moe_intermediate_size"),
        # the dense block runs for every token, as a shared expert does
        shared=keys.count("intermediate_size"),
        router_vectors=1,
        name="",
        shared_name="mlp",
        router_name="router.proj",
    )
    scale = loose("router.scale", TensorClass.ROUTER, keys.count("hidden_size"))
    return Stack(
        attention=[replace(each, weights=(*each.weights, *scale)) for each in attention],
        routed=frozenset(range(len(attention))),
        experts=experts,
        num_norms=_NORMS_WITH_EXPERTS,
    )


def _refuse_small_shapes(keys: ConfigKeys) -> None:
    """Raise InputError for the small models of the family, whose layers are others."""
    for name in ("hidden_size_per_layer_input", "num_kv_shared_layers"):
        if keys.count_or(0, name):
            raise keys.error(name, f"must be 0, got {keys.count(name)}")


def _attention(keys: ConfigKeys, num_layers: int) -> list[AttentionWeights]:
    """Return the attention of each layer: windowed, or full with heads of ``global_head_dim``,
    whose values may be their keys.
    """
    sizes = windows(keys, num_layers)
    kinds = keys.per_layer("layer_types", num_layers)
    local = grouped(keys, GroupedTraits(norm="head"))
    full = _full(keys)
    window = keys.count("sliding_window")
    windowed = local.windowed([window])[0]
    # A window as long as the context leaves nothing out.
    if window >= keys.count("max_position_embeddings"):
        windowed = local
    assert len(sizes) == len(kinds)
    return [full if kind == "full_attention" else windowed for kind in kinds]


def _full(keys: ConfigKeys) -> AttentionWeights:
    dim = keys.count("global_head_dim")
    are_values_keys = keys.flag_or(False, "attention_k_eq_v")
    kv_heads = keys.count("num_key_value_heads")
    if are_values_keys and keys.has("num_global_key_value_heads"):
        kv_heads = keys.count("num_global_key_value_heads")
    heads = Heads(
        num_queries=keys.count("num_attention_heads"),
        num_keys=kv_heads,
        key_dim=dim,
        value_dim=dim,
    )
    attention = grouped(keys, GroupedTraits(norm="head"), heads)
    if not are_values_keys:
        return attention
    # Keys stand for values: there is no matrix for them, while the cache still holds both.
    kept = tuple(weight for weight in attention.weights if not weight.name.endswith("v_proj"))
    return replace(attention, weights=kept)


GEMMA4 = Family(
    name="gemma4",
    decode=_decode,
    required=("head_dim", "global_head_dim", "layer_types", "tie_word_embeddings"),
    idle=(
        "num_global_key_value_heads",
        "use_double_wide_mlp",
        "vocab_size_per_layer_input",
        "use_bidirectional_attention",
    ),
)
