"""Phi-3.5-MoE: norms with biases, a biased head."""

from dataclasses import replace

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, routing, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.weights import loose
from sim.model.importers.windows import windows
from sim.model.model import TensorClass


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag("attention_bias")
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("intermediate_size"),
        name="block_sparse_moe",
    )
    attention = grouped(keys, GroupedTraits(has_bias=has_bias, has_output_bias=has_bias))
    stack = Stack(
        attention=attention.windowed(windows(keys, num_layers)),
        routed=routing(keys, range(num_layers)),
        experts=experts,
        has_norm_bias=True,
    )
    made = decoder_of(keys, stack)
    head_bias = keys.count("vocab_size") if keys.flag("lm_head_bias") else 0
    return replace(made, top=(*made.top, *loose("lm_head", TensorClass.HEAD, head_bias)))


PHIMOE = Family(name="phimoe", decode=_decode, required=("attention_bias", "lm_head_bias"))
