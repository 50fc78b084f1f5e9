"""Bytes of the KV cache as a runtime's arguments store it."""

from dataclasses import replace

from sim.model.model import Layer, Model
from sim.model.quantization import FORMATS
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.work import has_compressed_cache

MLA_BY_DEFAULT_SINCE = 943
"""The pull request of ik_llama.cpp, of 2025-11-12, that changed the default from -mla 0 to -mla 3.

Its source is common.h; llama-bench followed a day later (pull request 949).
"""

COMPRESSED_SINCE = 12801
"""The pull request since which llama.cpp caches keys and values compressed, of 2025-04-15."""


ATTENTION_BUFFER_SINCE = 2312
"""The pull request of ik_llama.cpp that made -amb 256 the default, of 2026-08-13.

Before it, there was no limit.
"""

DEFAULT_ATTENTION_BUFFER_MIB = 256
LEAST_ATTENTION_BUFFER_MIB = 128
"""The least value of -amb; ik_llama.cpp raises smaller ones to it (its pull request 1899)."""

EXPANDING_MODES = (2, 3)
"""Modes of -mla that expand a compressed cache to keys and values of all heads for a prompt."""


def mla_mode(question: RuntimeQuestion) -> int:
    """Return the mode of attention over a compressed cache, as ik_llama.cpp's -mla counts.

    Mode 0 caches keys and values of all heads, 1 multiplies by the compressed cache, 2 and 3 expand
    it for prompts. A build that is not known counts as today's.
    """
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments):
        return 3
    if not arguments.is_ik:
        return 1 if question.build >= COMPRESSED_SINCE else 0
    if arguments.mla is not None:
        return arguments.mla
    return 3 if question.build >= MLA_BY_DEFAULT_SINCE else 0


def attention_buffer_mib(question: RuntimeQuestion) -> int | None:
    """Return ik_llama.cpp's -amb: the MiB for keys and values while a compressed cache is expanded.

    None where nothing limits them.
    """
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments) or not arguments.is_ik:
        return None
    stated = arguments.attention_buffer_mib
    if stated is None and question.build >= ATTENTION_BUFFER_SINCE:
        return DEFAULT_ATTENTION_BUFFER_MIB
    return max(stated, LEAST_ATTENTION_BUFFER_MIB) if stated else None


def cached_model(question: RuntimeQuestion) -> Model:
    """Return the model with the attention that the runtime caches: compressed, or of all heads."""
    model = question.model
    if mla_mode(question) != 0:
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
    """Return the bytes of one element of the KV cache, the mean of a key's and a value's.

    A compressed cache has keys only.
    """
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments):
        return FORMATS["bf16"].bytes_per_weight
    key = _kv_bytes(arguments.key_type)
    if has_compressed_cache(cached_model(question)):
        return key
    return (key + _kv_bytes(arguments.value_type)) / 2


def _kv_bytes(name: str) -> float:
    """Return the bytes of one element of that type.

    ik_llama.cpp's q6_0 and q8_kv are not among the formats of files: 26 / 32 bytes, and 1 byte.
    """
    own = {"q6_0": 26 / 32, "q8_kv": 1.0}
    return own[name] if name in own else FORMATS[name].bytes_per_weight
