"""ERNIE 4.5 MoE: a range of layers routes, shared experts, a score correction for each expert."""

from dataclasses import replace

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, routing, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.weights import loose
from sim.model.model import TensorClass


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "use_bias")
    width = keys.count("moe_intermediate_size")
    routed = _moe_layers(keys, num_layers)
    experts = Experts(
        **selection(keys, ("moe_num_experts",), ("moe_k", "num_experts_per_tok")),
        intermediate=width,
        shared=keys.count_or(0, "moe_num_shared_experts") * width,
        has_shared_bias=has_bias,
        router_vectors=1,
    )
    traits = GroupedTraits(has_bias=has_bias, has_output_bias=has_bias)
    stack = Stack(
        attention=[grouped(keys, traits)] * num_layers,
        dense=dense_weights(keys, has_bias=has_bias) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    made = decoder_of(keys, stack)
    head_bias = keys.count("vocab_size") if has_bias else 0
    return replace(made, top=(*made.top, *loose("lm_head", TensorClass.HEAD, head_bias)))


def _moe_layers(keys: ConfigKeys, num_layers: int) -> frozenset[int]:
    """The layers that route: every ``moe_layer_interval``-th one of those from
    ``moe_layer_start_index`` to ``moe_layer_end_index`` (−1: the last).
    """
    first = keys.count_or(0, "moe_layer_start_index")
    step = max(keys.count_or(1, "moe_layer_interval"), 1)
    last = num_layers - 1
    # -1 counts from the end, as a Python index does.
    if keys.has("moe_layer_end_index") and keys.value("moe_layer_end_index") != -1:
        last = keys.count_or(last, "moe_layer_end_index")
    layers = range(first, min(last, num_layers - 1) + 1)
    return routing(keys, (index for index in layers if (index + 1) % step == 0))


ERNIE4_5_MOE = Family(
    name="ernie4_5_moe",
    decode=_decode,
    required=("moe_num_shared_experts", "moe_layer_start_index", "tie_word_embeddings"),
    idle=("intermediate_size",),
)
