"""Qwen3-Next, Qwen3.5-MoE and dense Qwen3.5 (3.6 too): gated delta nets in most layers, gated
attention in the others.

The MoE models have a gated shared expert, too.
"""

from functools import partial

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import (
    Experts,
    dense_weights,
    routing,
    selection,
    sparse_steps,
)
from sim.model.importers.linear_attention import linear_attention_weights, linear_layers
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys, *, is_all_sparse: bool = False) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    routed = routing(keys, range(num_layers)) if is_all_sparse else sparse_steps(keys, num_layers)
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("moe_intermediate_size"),
        shared=keys.count_or(0, "shared_expert_intermediate_size"),
        has_shared_gate=True,
        shared_name="shared_expert",
    )
    stack = Stack(
        attention=_mixers(keys, num_layers),
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


def _decode_dense(keys: ConfigKeys) -> Decoder:
    mixers = _mixers(keys, keys.count("num_hidden_layers"))
    return decoder_of(keys, Stack(attention=mixers, dense=dense_weights(keys)))


def _mixers(keys: ConfigKeys, num_layers: int) -> list[AttentionWeights]:
    has_bias = keys.flag_or(False, "attention_bias")
    # Qwen3.5's files say that attention has a gate; it always has
    has_gate = keys.flag_or(True, "attn_output_gate")
    traits = GroupedTraits(
        has_bias=has_bias, has_output_bias=has_bias, norm="head", has_query_gate=has_gate
    )
    full = grouped(keys, traits)
    delta_net = linear_attention_weights(keys)
    return [delta_net if linear else full for linear in linear_layers(keys, num_layers)]


_REQUIRED_DENSE = (
    "head_dim",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
)
_REQUIRED = (*_REQUIRED_DENSE, "shared_expert_intermediate_size")

QWEN3_NEXT = Family(
    name="qwen3_next",
    decode=_decode,
    required=_REQUIRED,
    idle=("intermediate_size",),
)
QWEN3_5_MOE = Family(
    name="qwen3_5_moe",
    decode=partial(_decode, is_all_sparse=True),
    required=_REQUIRED,
    idle=("intermediate_size", "decoder_sparse_step"),
)
QWEN3_5 = Family(
    name="qwen3_5",
    decode=_decode_dense,
    required=_REQUIRED_DENSE,
    idle=("mlp_only_layers",),
)
