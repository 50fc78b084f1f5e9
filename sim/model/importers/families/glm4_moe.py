"""GLM-4.5, 4.6 and 4.7: leading dense layers, shared experts, a score correction."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, leading_dense, selection
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    num_experts, top_k = selection(keys)
    width = keys.count("moe_intermediate_size")
    routed = leading_dense(keys, num_layers)
    traits = GroupedTraits(
        has_bias=keys.flag("attention_bias"),
        norm="head" if keys.flag_or(False, "use_qk_norm") else None,
    )
    experts = Experts(
        num_experts=num_experts,
        top_k=top_k,
        intermediate=width,
        shared=keys.count_or(0, "n_shared_experts") * width,
        router_vectors=1,
    )
    stack = Stack(
        attention=[grouped(keys, traits)] * num_layers,
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


GLM4_MOE = Family(
    name="glm4_moe",
    decode=_decode,
    required=("attention_bias", "head_dim", "first_k_dense_replace", "n_shared_experts"),
    # the text part of GLM-4.5V and 4.6V
    aliases=("glm4v_moe",),
    idle=("intermediate_size",),
)
