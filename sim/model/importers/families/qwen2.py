"""Dense Qwen2 and Qwen2.5: biases on queries, keys and values."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import dense_weights
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    attention = grouped(keys, GroupedTraits(has_bias=True))
    stack = Stack(
        attention=attention.windowed(windows(keys, num_layers)),
        dense=dense_weights(keys),
    )
    return decoder_of(keys, stack)


QWEN2 = Family(name="qwen2", decode=_decode)
