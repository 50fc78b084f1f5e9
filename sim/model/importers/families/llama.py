"""Dense Llama, and Mistral, whose layers are the same."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import dense_weights
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    attention = grouped(keys, GroupedTraits(has_bias=has_bias, has_output_bias=has_bias))
    stack = Stack(
        attention=attention.windowed(windows(keys, num_layers)),
        dense=dense_weights(keys, has_bias=keys.flag_or(False, "mlp_bias")),
    )
    return decoder_of(keys, stack)


LLAMA = Family(name="llama", decode=_decode, aliases=("mistral",))
