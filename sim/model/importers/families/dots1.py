"""dots.llm1 and Hunyuan 3: one norm vector for queries, one for keys, leading dense layers, shared
experts.
"""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, listed_kinds, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    width = keys.count("moe_intermediate_size")
    routed = listed_kinds(keys, num_layers)
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias, norm="head")
    experts = Experts(
        **selection(keys),
        intermediate=width,
        shared=keys.count_or(0, "n_shared_experts", "num_shared_experts") * width,
        router_vectors=1,
    )
    stack = Stack(
        attention=grouped(keys, traits).windowed(windows(keys, num_layers)),
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


DOTS1 = Family(
    name="dots1",
    decode=_decode,
    required=("first_k_dense_replace", "n_shared_experts"),
    idle=("intermediate_size",),
)
HY_V3 = Family(
    name="hy_v3",
    decode=_decode,
    required=("head_dim", "num_shared_experts"),
    idle=("intermediate_size", "enable_moe_fp32_combine"),
)
