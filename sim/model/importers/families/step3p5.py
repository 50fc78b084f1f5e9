"""Step-3.5-Flash and 3.7: a gate for each head, windowed layers with heads of their own, a shared
expert.
"""

from dataclasses import replace

from sim.model.importers.attention import GroupedTraits, Heads, grouped
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import (
    Experts,
    dense_weights,
    listed_kinds,
    routing,
    selection,
)
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.weights import linear
from sim.model.model import TensorClass

_IS_FULL = {"full_attention": True, "sliding_attention": False}


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    routed = _moe_layers(keys, num_layers)
    stack = Stack(
        attention=_attention(keys, num_layers),
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=Experts(
            **selection(
                keys,
                ("moe_num_experts", "n_routed_experts", "num_local_experts"),
                ("moe_top_k", "num_experts_per_tok"),
            ),
            intermediate=keys.count("moe_intermediate_size"),
            shared=keys.count_or(0, "share_expert_dim"),
            router_vectors=1,
            shared_name="share_expert",
        ),
    )
    return decoder_of(keys, stack)


def _moe_layers(keys: ConfigKeys, num_layers: int) -> frozenset[int]:
    """The layers that route, by ``mlp_layer_types``.

    The original files list their indices in a string, ``moe_layers_enum``, instead.
    """
    if keys.has("mlp_layer_types"):
        return listed_kinds(keys, num_layers)
    indices = [part.strip() for part in keys.text("moe_layers_enum").split(",")]
    known = {str(index) for index in range(num_layers)}
    # layers for multi-token prediction are counted on from the last
    return routing(keys, (int(index) for index in indices if index in known))


def _attention(keys: ConfigKeys, num_layers: int) -> list[AttentionWeights]:
    kinds = keys.first_layers("layer_types", num_layers)
    is_full = keys.meant("layer_types", kinds, _IS_FULL)
    full = _gated(keys, keys.count("num_attention_heads"))
    # The original files have a section for windowed layers, transformers' own a key.
    other = keys.section("attention_other_setting") if keys.has("attention_other_setting") else keys
    name = "num_attention_heads" if other is not keys else "num_sliding_attention_heads"
    local = _gated(
        keys, other.count(name) if other.has(name) else keys.count("num_attention_heads")
    )
    windowed = local.windowed([keys.count("sliding_window")])[0]
    return [full if attends_fully else windowed for attends_fully in is_full]


def _gated(keys: ConfigKeys, num_heads: int) -> AttentionWeights:
    """Attention with norms of queries and keys, and with one gate a head."""
    dim = keys.count("head_dim")
    kv_heads = keys.count("num_attention_groups", "num_key_value_heads")
    heads = Heads(num_queries=num_heads, num_keys=kv_heads, key_dim=dim, value_dim=dim)
    has_bias = keys.flag_or(False, "attention_bias")
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias, norm="head")
    attention = grouped(keys, traits, heads)
    gate = linear("self_attn.g_proj", TensorClass.ATTENTION, keys.count("hidden_size"), num_heads)
    return replace(attention, weights=(*attention.weights, *gate))


STEP3P5 = Family(
    name="step3p5",
    decode=_decode,
    required=("head_dim", "layer_types", "share_expert_dim"),
    aliases=("step3p7",),
    idle=(
        "intermediate_size",
        "num_experts_per_tok",
        "num_local_experts",
        "share_expert_dims",
        "moe_layer_freq",
        "moe_every_n_layer",
        "use_head_wise_attn_gate",
        "use_moe_router_bias",
        "use_qk_norm",
        "yarn_only_types",
        "moe_layer_offset",
        "partial_rotary_factors",
        "need_fp32_gate",
        "gating",
    ),
)
