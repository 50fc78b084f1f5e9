"""Granite 3 MoE: grouped queries, and experts in every layer."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, routing, selection
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("intermediate_size"),
        name="block_sparse_moe",
    )
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias)
    stack = Stack(
        attention=[grouped(keys, traits)] * num_layers,
        routed=routing(keys, range(num_layers)),
        experts=experts,
    )
    return decoder_of(keys, stack)


GRANITEMOE = Family(name="granitemoe", decode=_decode, required=("tie_word_embeddings",))
