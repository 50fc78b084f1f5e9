"""Other spellings of schemes: as programs print them, and as files and repositories are named."""

import re
from collections.abc import Mapping
from types import MappingProxyType

_SIZES = MappingProxyType({"small": "S", "medium": "M", "large": "L"})

_SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        # ggml-org/llama.cpp, tools/quantize/quantize.cpp, commit 0c1e5709: aliases of a mix
        "q3_k": "Q3_K_M",
        "q4_k": "Q4_K_M",
        "q5_k": "Q5_K_M",
        # src/llama-model-loader.cpp, llama_model_ftype_name, of the same commit
        "all f32": "F32",
        "mxfp4 moe": "MXFP4_MOE",
        "mxfp4-moe": "MXFP4_MOE",
        "q2_k - medium": "Q2_K",
        "iq3_s mix - 3.66 bpw": "IQ3_M",
        "fp16": "F16",
        "fp32": "F32",
        # Unsloth's own mixes, whose files people name without the prefix
        "q4_k_xl": "UD-Q4_K_XL",
        "q5_k_xl": "UD-Q5_K_XL",
        "q6_k_xl": "UD-Q6_K_XL",
        "q8_k_xl": "UD-Q8_K_XL",
        # Checkpoints: names of vLLM's schemes, and endings of repositories
        "w4a16": "GPTQ-4bit",
        "w8a16": "GPTQ-8bit",
        "w8a8": "INT8",
        "fp8-dynamic": "fp8",
        "fp8-block": "fp8",
        "nvfp4a16": "NVFP4",
        "w8a8-fp8": "fp8",
        "int4-awq": "AWQ",
        "awq-int4": "AWQ",
        "awq-4bit": "AWQ",
        "gptq": "GPTQ-4bit",
        "gptq-int4": "GPTQ-4bit",
        "gptq-int8": "GPTQ-8bit",
        # 4 or 8 bits and two 16-bit numbers, or one of 32, for each 64 weights
        "mlx-4bit": "4bit",
        "mlx-8bit": "8bit",
        "bnb-4bit": "4bit",
    }
)

_SIZED = re.compile(r"(?P<base>q\d_k)[ _]+(?:- )?(?P<size>small|medium|large)")
_WITH_BITS = re.compile(r"(?P<base>[a-z0-9_]+) - [\d.]+ bpw(?: .*)?")


def usual_spelling(name: str) -> str:
    """The public name that a spelling stands for, or the name itself.

    ``Q4_K - Medium`` and ``IQ3_XXS - 3.0625 bpw`` are what llama.cpp prints of a file.
    """
    folded = " ".join(name.lower().split())
    if folded in _SPELLINGS:
        return _SPELLINGS[folded]
    with_bits = _WITH_BITS.fullmatch(folded)
    if with_bits:
        return with_bits["base"]
    sized = _SIZED.fullmatch(folded)
    if sized:
        return f"{sized['base']}_{_SIZES[sized['size']]}"
    return name
