"""The words that files have for formats of numbers: what weights are stored in, and what hardware multiplies in."""

from hwprofiles.errors import closest

COMPUTE_TYPES = frozenset(
    ["f64", "f32", "tf32", "fp32", "bf16", "f16", "fp16", "fp8", "fp6", "fp4", "nvfp4", "mxfp4", "mxfp8", "int8", "int4"],
)
"""What a machine file may state rates of arithmetic for."""

_GGML = (
    ["q8_0", "q8_1", "q8_k", "q6_k", "q5_k", "q4_k", "q3_k", "q2_k", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl", "iq4_xs"],
    ["iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s", "tq1_0", "tq2_0", "i8", "i16", "i32", "i64"],
)
_CODES = ["int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "nf4", "mxfp6", "codebook", "trellis"]
WEIGHT_FORMATS = COMPUTE_TYPES.union(*_GGML, _CODES)
"""What weights may be stored in: 16-bit and smaller floats, llama.cpp's types (ggml.h), integers and codebooks."""

_SIZES = ["hidden", "intermediate", "experts", "top_k", "vocab", "params", "sequences"]
_ATTENTION = ["heads", "kv_elements", "score_elements", "value_elements", "window_tokens", "state_elements"]
SHAPE_KEYS = frozenset([*_SIZES, *_ATTENTION])
"""Dimensions that a measured curve may hold for."""


def check_words(what: str, words: frozenset[str] | set[str], known: frozenset[str]) -> None:
    """Raise ValueError for a word that is not known, with the closest that is."""
    unknown = sorted(words - known)
    if unknown:
        raise ValueError(f"no {what} named {unknown[0][:60]!r}{closest(unknown[0], known)}")
