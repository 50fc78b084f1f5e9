"""Mixtral: grouped queries, and experts in every layer."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, routing, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("intermediate_size"),
        name="block_sparse_moe",
    )
    attention = grouped(keys, GroupedTraits())
    stack = Stack(
        attention=attention.windowed(windows(keys, num_layers)),
        routed=routing(keys, range(num_layers)),
        experts=experts,
    )
    return decoder_of(keys, stack)


MIXTRAL = Family(name="mixtral", decode=_decode)
