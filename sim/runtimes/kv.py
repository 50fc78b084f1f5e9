"""Bytes of the KV cache as a runtime's arguments store it."""

from sim.model.quantization import FORMATS
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.work import has_compressed_cache


def kv_element_bytes(question: RuntimeQuestion) -> float:
    """Bytes of one element of the KV cache, keys and values averaged; a compressed cache has keys
    only.
    """
    arguments = question.arguments
    if isinstance(arguments, KtArguments):
        return FORMATS["bf16"].bytes_per_weight
    key = _kv_bytes(arguments.key_type)
    if has_compressed_cache(question.model):
        return key
    return (key + _kv_bytes(arguments.value_type)) / 2


def _kv_bytes(name: str) -> float:
    """Bytes of one element. ik_llama.cpp's q6_0 and q8_kv are not among the formats of files: 26
    bytes of 32, and 1 byte.
    """
    own = {"q6_0": 26 / 32, "q8_kv": 1.0}
    return own[name] if name in own else FORMATS[name].bytes_per_weight
