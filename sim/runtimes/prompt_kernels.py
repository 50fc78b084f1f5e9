"""The speed of llama.cpp's CPU kernels for a prompt, by the format of the weights."""

from collections.abc import Mapping
from statistics import median

from sim.runtimes.llama_cpp.arguments import LLAMA_CPP
from sim.runtimes.question import RuntimeQuestion

_TOKENS_PER_S: Mapping[str, float] = {
    "BF16": 79,
    "Q8_0": 148,
    "Q5_0": 112,
    "Q4_0": 154,
    "IQ4_NL": 123,
    "IQ4_XS": 74,
    "Q2_K": 122,
    "Q3_K": 85,
    "Q4_K": 108,
    "Q5_K": 76,
    "Q6_K": 83,
    "IQ2_XXS": 46,
    "IQ2_XS": 50,
    "IQ2_M": 44,
    "IQ3_XXS": 34,
    "IQ3_S": 30,
}
"""Tokens a second of LLaMA-3.1-8B in each format, for a prompt of 512 tokens.

They are of 16 threads of a Ryzen 9 7950X, December 2024 (ik_llama.cpp discussion 164).
"""

_MEDIAN_TOKENS_PER_S = median(_TOKENS_PER_S.values())


def prompt_kernel_factor(question: RuntimeQuestion, format_name: str) -> float:
    """Return the rate at which the CPU multiplies a prompt by that format over the median format's.

    1 for formats that were not measured, and for other programs, whose formats differ little.
    """
    if question.runtime != LLAMA_CPP:
        return 1.0
    upper = format_name.upper()
    # The longest name first: IQ2_XXS has IQ2_X in it too.
    names = sorted(_TOKENS_PER_S, key=len, reverse=True)
    rates = (_TOKENS_PER_S[name] for name in names if name in upper)
    return next(rates, _MEDIAN_TOKENS_PER_S) / _MEDIAN_TOKENS_PER_S
