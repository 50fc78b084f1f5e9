"""Qwen1.5-MoE and Qwen2-MoE: a gated shared expert, and biases on queries, keys and values."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, selection, sparse_steps
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(True, "qkv_bias")
    routed = sparse_steps(keys, num_layers)
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("moe_intermediate_size"),
        shared=keys.count_or(0, "shared_expert_intermediate_size"),
        has_shared_gate=True,
        shared_name="shared_expert",
    )
    attention = grouped(keys, GroupedTraits(has_bias=has_bias))
    stack = Stack(
        attention=attention.windowed(windows(keys, num_layers)),
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


QWEN2_MOE = Family(
    name="qwen2_moe",
    decode=_decode,
    required=("shared_expert_intermediate_size",),
    idle=("intermediate_size",),
)
