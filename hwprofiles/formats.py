"""The names of number formats in files: those that weights are stored in, and those that hardware
multiplies in.
"""

from hwprofiles.errors import closest

_FLOATS = ["f64", "f32", "tf32", "fp32", "bf16", "f16", "fp16", "fp8", "fp6", "fp4", "nvfp4"]
COMPUTE_TYPES = frozenset([*_FLOATS, "mxfp4", "mxfp8", "int8", "int4", "amx_bf16", "amx_int8"])
"""The types of numbers that a machine file may state rates of arithmetic for."""

_GGML = (
    ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q8_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"],
    ["q8_k", "iq2_xxs", "iq2_xs", "iq3_xxs", "iq1_s", "iq4_nl", "iq3_s", "iq2_s", "iq4_xs"],
    ["iq1_m", "q4_0_4_4", "q4_0_4_8", "q4_0_8_8", "tq1_0", "tq2_0", "q1_0", "q2_0", "i2_s"],
    ["q6_0", "iq1_bn", "iq2_bn", "iq2_k", "iq3_k", "iq4_k", "iq5_k", "iq6_k", "iq4_ks", "iq2_ks"],
    ["iq4_kss", "q8_kv", "iq5_ks", "iq2_kt", "iq3_kt", "iq4_kt", "iq3_ks", "iq2_kl", "iq1_kt"],
    ["q4_0_r8", "q5_0_r4", "q8_0_r8", "q2_k_r4", "q3_k_r4", "q4_k_r4", "q5_k_r4", "q6_k_r4"],
    ["iq2_xxs_r4", "iq2_xs_r4", "iq3_xxs_r4", "iq1_s_r4", "iq4_nl_r4", "iq3_s_r4", "iq2_s_r4"],
    ["iq4_xs_r8", "iq1_m_r4", "bf16_r16", "q6_0_r4", "iq2_bn_r4", "iq2_k_r4", "iq3_k_r4"],
    ["iq4_k_r4", "iq5_k_r4", "iq4_ks_r4", "iq5_ks_r4", "mxfp4_r8", "q8_k_r16", "q8_kv_r8"],
    ["q8_k_r8"],
    ["i8", "i16", "i32", "i64"],
)
_CODES = [
    "int1",
    "int2",
    "int3",
    "int4",
    "int5",
    "int6",
    "int7",
    "int8",
    "nf4",
    "mxfp6",
    "codebook",
    "trellis",
]
WEIGHT_FORMATS = COMPUTE_TYPES.union(*_GGML, _CODES)
"""The formats that weights may be stored in: floats, the types of llama.cpp and ik_llama.cpp
(ggml.h), integers and codebooks.
"""

_SIZES = ["hidden", "intermediate", "experts", "top_k", "vocab", "params", "sequences", "bytes"]
_ATTENTION = [
    "heads",
    "kv_elements",
    "score_elements",
    "value_elements",
    "window_tokens",
    "state_elements",
]
SHAPE_KEYS = frozenset([*_SIZES, *_ATTENTION])
"""The names of dimensions in the shape of a measured curve."""


def check_words(what: str, words: frozenset[str] | set[str], known: frozenset[str]) -> None:
    """Raise ValueError for a word that is not known, with the closest known word."""
    # Sorted, so that the same file is always refused for the same word.
    unknown = sorted(words - known)
    if unknown:
        raise ValueError(f"no {what} named {unknown[0][:60]!r}{closest(unknown[0], known)}")
