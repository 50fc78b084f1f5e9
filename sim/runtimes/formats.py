"""Families of weight formats, which differ in the work of unpacking.

The family is told from the public name of a quantisation.
"""

import re
from enum import StrEnum

from sim.model.model import Model, TensorClass


class FormatFamily(StrEnum):
    """Families of formats; kernels unpack the weights of one family alike."""

    WIDE = "wide"
    LEGACY = "legacy"
    K = "k"
    IQ_K = "iq_k"
    CODEBOOK = "codebook"
    TRELLIS = "trellis"


OWN_FAMILIES = (FormatFamily.IQ_K, FormatFamily.TRELLIS)
"""Families that llama.cpp has no kernels for."""

_FAMILIES = (
    (FormatFamily.TRELLIS, r"IQ\d_KT"),
    (FormatFamily.IQ_K, r"IQ\d_KS|IQ\d_KL|IQ\d_K"),
    (FormatFamily.LEGACY, r"IQ4_(XS|NL)|MXFP4|NVFP4|Q[4568]_[01]|Q8_K|INT[48]|FP8|AWQ|GPTQ|8BIT"),
    (FormatFamily.CODEBOOK, r"IQ[123]_"),
    (FormatFamily.WIDE, r"BF16|F16|FP16|F32|16BIT"),
    (FormatFamily.K, r"Q\d_K|Q\d_?XL|4BIT"),
)
"""Patterns of names by family; the first that is found in a name decides.

Widths come last in names such as UD-Q4_K_XL, so order matters.
"""


def format_family(name: str) -> FormatFamily:
    """The family of a quantisation by its public name; K where the name says nothing, as most files
    are K mixes.
    """
    upper = name.upper()
    for family, pattern in _FAMILIES:
        if re.search(pattern, upper):
            return family
    return FormatFamily.K


BLOCK_WEIGHTS = 256
"""Weights that share a scale in llama.cpp's K, IQ and TQ formats."""

SHORT_BLOCK_WEIGHTS = 32
"""Weights that share a scale in llama.cpp's older formats and in MXFP4.

Rows that blocks of K formats do not divide fall back to these.
"""

_SHORT_BLOCKS = r"Q[458]_[01]|IQ4_NL|MXFP4"


def block_weights(name: str, width: int) -> int:
    """Return how many weights llama.cpp stores as one block in that format.

    ``width`` is the length of a row in weights.
    """
    if format_family(name) is FormatFamily.WIDE:
        return 1
    is_short = re.search(_SHORT_BLOCKS, name.upper()) or width % BLOCK_WEIGHTS
    return SHORT_BLOCK_WEIGHTS if is_short else BLOCK_WEIGHTS


def kernel_format(model: Model, stated: str | None) -> str:
    """Return the name of the format that kernels of experts read: as stated, else the model's.

    A model from a GGUF file names no scheme; the type of most of its expert bytes stands for it.
    """
    if stated is not None:
        return stated
    if model.quantization.lower() != "gguf":
        return model.quantization
    # Experts hold most of the weights, so their type says which kernels take the time.
    return model.dtype(TensorClass.DENSE_FFN if model.is_dense else TensorClass.EXPERT)


def is_interleaved(name: str) -> bool:
    """Whether the file's rows are interleaved, as in ik_llama.cpp's _R4, _R8 and _R16 formats."""
    return re.search(r"_R(4|8|16)\b", name.upper()) is not None
