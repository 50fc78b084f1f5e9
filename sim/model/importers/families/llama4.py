"""Llama 4: one shared expert as wide as a routed one, chunked attention in three layers of four."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, routing, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows

_FULL_ATTENTION_PERIOD = 4


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    width = keys.count("intermediate_size")
    routed = _moe_layers(keys, num_layers)
    experts = Experts(
        **selection(keys),
        intermediate=width,
        shared=width,
        name="feed_forward",
        shared_name="shared_expert",
    )
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias)
    sizes = windows(keys, num_layers, _FULL_ATTENTION_PERIOD)
    stack = Stack(
        attention=grouped(keys, traits).windowed(sizes),
        dense=dense_weights(keys, "intermediate_size_mlp", name="feed_forward"),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


def _moe_layers(keys: ConfigKeys, num_layers: int) -> frozenset[int]:
    step = keys.count("interleave_moe_layer_step")
    if keys.has("moe_layers") and keys.items("moe_layers"):
        return routing(keys, keys.layer_indices("moe_layers", num_layers))
    return routing(keys, range(step - 1, num_layers, step))


LLAMA4 = Family(
    name="llama4",
    decode=_decode,
    required=(
        "head_dim",
        "attention_chunk_size",
        "interleave_moe_layer_step",
        "intermediate_size_mlp",
    ),
    # its norms of queries and keys hold no weights
    idle=("use_qk_norm",),
)
