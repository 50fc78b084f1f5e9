"""Ling 1 and 2 (Ring too), a model_type of two generations with grouped queries and shared experts.

The second generation has norms of queries and keys, and a score correction for each expert. Both
are read off the modelling classes that the checkpoints ship, as transformers 5.23.0 has none. These
are modeling_bailing_moe.py and modeling_bailing_moe_v2.py of inclusionAI/Ling-lite and
inclusionAI/Ling-mini-2.0.
"""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, listed_kinds, selection
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys) -> Decoder:
    return bailing_decoder(keys, [bailing_attention(keys)] * keys.count("num_hidden_layers"))


def bailing_attention(keys: ConfigKeys) -> AttentionWeights:
    """Grouped-query attention. The checkpoint has one product for queries, keys and values; it is
    counted as three.
    """
    traits = GroupedTraits(
        has_bias=keys.flag_or(False, "use_qkv_bias"),
        has_output_bias=keys.flag_or(False, "use_bias"),
        norm="head" if keys.flag_or(False, "use_qk_norm") else None,
    )
    return grouped(keys, traits, name="attention")


def bailing_decoder(keys: ConfigKeys, attention: list[AttentionWeights]) -> Decoder:
    """Return the decoder of layers with that attention and with the feed-forward parts that every
    generation has.
    """
    num_layers = len(attention)
    width = keys.count("moe_intermediate_size")
    routed = listed_kinds(keys, num_layers)
    shared = keys.count_or(width, "moe_shared_expert_intermediate_size")
    # the first generation's files do not have the key, and its router no such vector
    has_correction = keys.flag_or(False, "moe_router_enable_expert_bias")
    stack = Stack(
        attention=attention,
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=Experts(
            **selection(keys),
            intermediate=width,
            shared=keys.count_or(0, "num_shared_experts") * shared,
            router_vectors=1 if has_correction else 0,
        ),
    )
    return decoder_of(keys, stack)


IDLE_KEYS = (
    "intermediate_size",
    "num_shared_experts",
    "moe_shared_expert_intermediate_size",
    "moe_router_enable_shared_expert",
    "max_window_layers",
)

BAILING_MOE = Family(
    name="bailing_moe",
    decode=_decode,
    required=("num_shared_experts", "first_k_dense_replace"),
    aliases=("bailing_moe_v2",),
    idle=IDLE_KEYS,
)
"""The family of the first and the second generation."""
