"""Dense Gemma 3: four norms a layer, norms of queries and keys, five windowed layers for a full one."""

from sim.model.importers.attention import GroupedTraits, Heads, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import dense_weights
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows

_NORMS = 4
_FULL_PERIOD = 6


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias, norm="head")
    attention = grouped(keys, traits, _heads(keys))
    period = keys.count_or(_FULL_PERIOD, "sliding_window_pattern", "_sliding_window_pattern")
    stack = Stack(
        attention=attention.windowed(windows(keys, num_layers, full_period=period)),
        dense=dense_weights(keys),
        num_norms=_NORMS,
        # Every model of the family ties them, and its files leave the key out.
        is_head_tied=keys.flag_or(True, "tie_word_embeddings"),
    )
    return decoder_of(keys, stack)


def _heads(keys: ConfigKeys) -> Heads:
    """Heads of the dimension ``head_dim``, which does not follow from the hidden size."""
    dim = keys.count("head_dim")
    return Heads(
        num_queries=keys.count("num_attention_heads"),
        num_keys=keys.count("num_key_value_heads"),
        key_dim=dim,
        value_dim=dim,
    )


GEMMA3 = Family(
    name="gemma3",
    decode=_decode,
    required=("sliding_window",),
    # Google's files state what differs from the class, which is that of the 4B model
    # (Gemma3TextConfig of transformers 5.23.0).
    defaults={
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
    },
    idle=("use_bidirectional_attention",),
)
