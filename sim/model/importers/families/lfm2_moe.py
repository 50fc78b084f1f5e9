"""LFM2-MoE: gated short convolutions in most layers, attention in the others."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, routing, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.state_space import short_convolution

_IS_FULL = {"conv": False, "full_attention": True}


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    num_dense = keys.count_or(0, "num_dense_layers")
    routed = routing(keys, range(num_dense, num_layers))
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("moe_intermediate_size"),
        router_vectors=1 if keys.flag_or(False, "use_expert_bias") else 0,
        name="feed_forward",
    )
    full = grouped(keys, GroupedTraits(norm="head"))
    convolution = short_convolution(keys, "conv")
    is_full = keys.layer_kinds("layer_types", num_layers, _IS_FULL)
    stack = Stack(
        attention=[full if attends else convolution for attends in is_full],
        dense=dense_weights(keys, name="feed_forward") if num_dense else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


LFM2_MOE = Family(
    name="lfm2_moe",
    decode=_decode,
    required=("num_dense_layers", "use_expert_bias", "conv_L_cache", "tie_word_embeddings"),
    idle=("intermediate_size", "block_auto_adjust_ff_dim", "conv_dim", "conv_dim_out"),
)
