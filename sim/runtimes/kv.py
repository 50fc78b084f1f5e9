"""Bytes of the KV cache as a runtime's arguments store it."""

from dataclasses import replace

from sim.model.model import Layer, Model
from sim.model.quantization import FORMATS
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.work import has_compressed_cache

MLA_BY_DEFAULT_SINCE = 943
"""The pull request of ik_llama.cpp that made -mla 3 the default, of 2025-11-12; 0 was before it
(common.h; llama-bench followed a day later, pull request 949).
"""

COMPRESSED_SINCE = 12801
"""The pull request of llama.cpp that made it cache keys and values compressed, of 2025-04-15."""


ATTENTION_BUFFER_SINCE = 2312
"""The pull request of ik_llama.cpp that made -amb 256 the default, of 2026-08-13; no limit was before
it.
"""

DEFAULT_ATTENTION_BUFFER_MIB = 256
LEAST_ATTENTION_BUFFER_MIB = 128
"""Below this ik_llama.cpp raises -amb (its pull request 1899)."""

EXPANDING_MODES = (2, 3)
"""Modes of -mla that make keys and values of all heads anew for a prompt."""


def mla_mode(question: RuntimeQuestion) -> int:
    """Return the mode of attention over a compressed cache, as ik_llama.cpp's -mla counts: 0 caches
    keys and values of all heads, 1 multiplies by the compressed cache, 2 and 3 expand it for prompts.

    Where the build is not known, it counts as today's.
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
    """Return the MiB that ik_llama.cpp lets keys and values take while they are made from a
    compressed cache, as its -amb counts; None where nothing limits them.
    """
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments) or not arguments.is_ik:
        return None
    stated = arguments.attention_buffer_mib
    if stated is None and question.build >= ATTENTION_BUFFER_SINCE:
        return DEFAULT_ATTENTION_BUFFER_MIB
    return max(stated, LEAST_ATTENTION_BUFFER_MIB) if stated else None


def cached_model(question: RuntimeQuestion) -> Model:
    """Return the model with the attention whose keys and values the runtime caches."""
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
