"""gpt-oss: attention sinks, and biases on all products."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, routing, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.windows import windows

_FULL_ATTENTION_PERIOD = 2


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag("attention_bias")
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias, has_sinks=True)
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("intermediate_size"),
        has_bias=True,
        router_vectors=1,
    )
    sizes = windows(keys, num_layers, _FULL_ATTENTION_PERIOD)
    stack = Stack(
        attention=grouped(keys, traits).windowed(sizes),
        routed=routing(keys, range(num_layers)),
        experts=experts,
    )
    return decoder_of(keys, stack)


GPT_OSS = Family(
    name="gpt_oss", decode=_decode, required=("attention_bias", "head_dim", "sliding_window")
)
