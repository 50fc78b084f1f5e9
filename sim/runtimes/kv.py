"""Bytes of the KV cache as a runtime's arguments store it."""

from dataclasses import replace

from sim.model.model import Layer, Model
from sim.model.quantization import FORMATS
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.work import has_compressed_cache


def cached_model(question: RuntimeQuestion) -> Model:
    """Return the model with the attention whose keys and values the runtime caches.

    ik_llama.cpp with -mla 0 caches keys and values of all heads, not the latent ones.
    """
    arguments = question.arguments
    model = question.model
    # Today's llama.cpp always caches the latent; only ik_llama.cpp lets the user choose.
    if not isinstance(arguments, LlamaArguments) or not arguments.is_ik or arguments.mla != 0:
        return model
    return replace(model, layers=tuple(_expanded(layer) for layer in model.layers))


def _expanded(layer: Layer) -> Layer:
    attention = layer.attention
    if attention is None or not attention.expanded_elements:
        return layer
    # Only the sum of the two counts: a key and a value are each read once and multiplied once.
    half = attention.expanded_elements // 2
    expanded = replace(
        attention,
        kv_elements_per_token=attention.expanded_elements,
        score_elements=half,
        value_elements=attention.expanded_elements - half,
    )
    return replace(layer, attention=expanded)


def kv_element_bytes(question: RuntimeQuestion) -> float:
    """Bytes of one element of the KV cache, keys and values averaged; a compressed cache has keys
    only.
    """
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments):
        return FORMATS["bf16"].bytes_per_weight
    key = _kv_bytes(arguments.key_type)
    if has_compressed_cache(cached_model(question)):
        return key
    return (key + _kv_bytes(arguments.value_type)) / 2


def _kv_bytes(name: str) -> float:
    """Bytes of one element. ik_llama.cpp's q6_0 and q8_kv are not among the formats of files: 26
    bytes of 32, and 1 byte.
    """
    own = {"q6_0": 26 / 32, "q8_kv": 1.0}
    return own[name] if name in own else FORMATS[name].bytes_per_weight
