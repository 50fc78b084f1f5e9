"""Schemes of checkpoints: the settings that their tools write under ``quantization_config`` by
default.

A checkpoint's own settings say more; they are read where its config.json states them.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sim.model.importers.schemes.scheme import Scheme

_DEFAULTS = "the tool's usual settings ({settings}); other settings differ by a few per cent"


def _scheme(name: str, said: str, settings: Mapping[str, Any]) -> Scheme:
    return Scheme(
        name=name,
        settings=MappingProxyType(dict(settings)),
        approximation=_DEFAULTS.format(settings=said),
    )


_ALL = (
    _scheme(
        "AWQ",
        "AutoAWQ, 4 bits, groups of 128, zero points",
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    ),
    _scheme(
        "GPTQ-4bit",
        "GPTQModel, 4 bits, groups of 128",
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
    ),
    _scheme(
        "GPTQ-8bit",
        "GPTQModel, 8 bits, groups of 128",
        {"quant_method": "gptq", "bits": 8, "group_size": 128},
    ),
    _scheme(
        "NVFP4",
        "ModelOpt, linear layers in groups of 16, head in 16 bits",
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]},
    ),
    _scheme(
        "INT8",
        "8 bits, a 16-bit scale for each output",
        {"quant_method": "w8a8_int8"},
    ),
    _scheme(
        "INT4",
        "AutoRound, 4 bits, groups of 128",
        {"quant_method": "auto-round", "bits": 4, "group_size": 128},
    ),
    _scheme(
        "FP4",
        "DeepSeek-V4's checkpoint, experts in mxfp4, the rest in blocks of fp8",
        {
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
            "scale_fmt": "ue8m0",
            "expert_dtype": "fp4",
        },
    ),
)

CHECKPOINTS: Mapping[str, Scheme] = MappingProxyType({scheme.name: scheme for scheme in _ALL})
"""The schemes by name."""

_EXLLAMA = re.compile(r"(exl[23])-(\d(?:\.\d{1,3})?)bpw", re.IGNORECASE)
_HEAD_BITS = 6
"""Bits of the head that ExLlama's converter takes unless told otherwise."""


def exllama_scheme(name: str) -> Scheme | None:
    """The scheme of a name such as EXL3-4.05bpw; None for any other name, or for bits outside 1 to
    8.
    """
    match = _EXLLAMA.fullmatch(name)
    if match is None or not 1 <= float(match.group(2)) <= 8:
        return None
    method = match.group(1).lower()
    bits = float(match.group(2))
    return _scheme(
        f"{method.upper()}-{match.group(2)}bpw",
        f"{bits:g} bits a weight in the mean, {_HEAD_BITS} bits in the head",
        {"quant_method": method, "bits": bits, "head_bits": _HEAD_BITS},
    )
