"""Qwen3-MoE (Qwen3-Coder too) and the text part of Qwen3-VL-MoE: one norm vector for queries, one
for keys.
"""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, selection, sparse_steps
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    routed = sparse_steps(keys, num_layers)
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias, norm="head")
    experts = Experts(**selection(keys), intermediate=keys.count("moe_intermediate_size"))
    stack = Stack(
        attention=grouped(keys, traits).windowed(windows(keys, num_layers)),
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


QWEN3_MOE = Family(
    name="qwen3_moe",
    decode=_decode,
    required=("head_dim",),
    # its class norms queries and keys whatever this says
    idle=("intermediate_size", "use_qk_norm"),
    aliases=("qwen3_vl_moe",),
)
