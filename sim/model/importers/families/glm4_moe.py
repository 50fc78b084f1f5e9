"""GLM-4.5, 4.6 and 4.7: leading dense layers, shared experts, a score correction.

Solar Open is built alike, with experts in every layer.
"""

from functools import partial

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, leading_dense, selection
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys, *, is_all_routed: bool = False) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    width = keys.count("moe_intermediate_size")
    routed = frozenset(range(num_layers)) if is_all_routed else leading_dense(keys, num_layers)
    traits = GroupedTraits(
        has_bias=keys.flag_or(False, "attention_bias"),
        norm="head" if keys.flag_or(False, "use_qk_norm") else None,
    )
    experts = Experts(
        **selection(keys),
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

SOLAR_OPEN = Family(
    name="solar_open",
    decode=partial(_decode, is_all_routed=True),
    required=("head_dim", "n_shared_experts"),
    # Its class has experts in every layer, whatever these say.
    idle=("intermediate_size", "first_k_dense_replace"),
)
