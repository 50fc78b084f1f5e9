"""Dense Qwen3: one norm vector for queries, one for keys."""

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
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias, norm="head")
    stack = Stack(
        attention=grouped(keys, traits).windowed(windows(keys, num_layers)),
        dense=dense_weights(keys),
    )
    return decoder_of(keys, stack)


QWEN3 = Family(name="qwen3", decode=_decode, required=("head_dim",), aliases=("qwen3_vl",))
