"""The file in which a program stores a model, and the formats that a program cannot load."""

from collections.abc import Mapping
from dataclasses import dataclass

from hwprofiles import InputError
from sim.model.importers.schemes import find_scheme
from sim.model.library import load_model
from sim.model.model import Model, TensorClass
from sim.model.storage_types import STORAGE_TYPES
from sim.runtimes.accelerate.arguments import ACCELERATE
from sim.runtimes.caching.arguments import EXPERT_CACHE, FREETOKEN, POOLED_CACHE, STATIC_CACHE
from sim.runtimes.exllamav3.arguments import EXLLAMAV3
from sim.runtimes.ktransformers.arguments import KTRANSFORMERS
from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP
from sim.runtimes.vllm.arguments import VLLM

BY_BITS = frozenset({"16bit", "8bit", "4bit", "4bit-experts"})
"""Schemes that state only how many bits a weight has.

They are no program's format, so every program is taken to have such files.
"""

_WIDE = frozenset({"f32", "f16", "bf16"})
_CHECKPOINT = _WIDE | {
    *("fp8", "mxfp4", "mxfp6", "mxfp8", "nvfp4", "nf4", "codebook"),
    *(f"int{bits}" for bits in range(1, 9)),
}
"""Formats of Hugging Face checkpoints that tools write and that transformers and vLLM load."""

_FREETOKEN = _WIDE | {"fp8", "mxfp4", "mxfp8", "nvfp4"}
"""Formats of FreeToken's ``QuantScheme`` (its pull request 418); it reads no GGUF (issue 352)."""

_LAST_SHARED_TYPE = 100
"""A limit in ggml.h: types that only ik_llama.cpp has are numbered above it."""

_NOT_IN_LLAMA_CPP = frozenset({"i2_s"})
_NOT_IN_IK = frozenset({"tq1_0", "tq2_0", "nvfp4", "q2_0"})
"""Types that ik_llama.cpp's enum ggml_type lacks (at 8337e4cd).

``_NOT_IN_LLAMA_CPP`` holds those that llama.cpp's lacks.
"""

_TYPES = frozenset(kind.name for kind in STORAGE_TYPES.values())
_LLAMA_CPP = (
    frozenset(kind.name for number, kind in STORAGE_TYPES.items() if number < _LAST_SHARED_TYPE)
    - _NOT_IN_LLAMA_CPP
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """The formats that a program loads, a word for its files, and an example of a scheme."""

    formats: frozenset[str]
    files: str
    example: str


_GGUF = _Reader(formats=_LLAMA_CPP, files="GGUF files", example="Q4_K_M")
_IK_GGUF = _Reader(formats=_TYPES - _NOT_IN_IK, files="GGUF files", example="Q4_K_M")
_READERS: Mapping[str, _Reader] = {
    LLAMA_CPP: _GGUF,
    EXPERT_CACHE: _GGUF,
    POOLED_CACHE: _GGUF,
    STATIC_CACHE: _GGUF,
    IK_LLAMA_CPP: _IK_GGUF,
    # Experts on the CPU come from a GGUF file or are converted; the rest is the checkpoint's.
    KTRANSFORMERS: _Reader(
        formats=_LLAMA_CPP | _CHECKPOINT, files="GGUF files and checkpoints", example="Q4_K_M"
    ),
    # GGUF is a plugin of vLLM, not part of it, since 0.24 (its pull request 39612).
    VLLM: _Reader(formats=_CHECKPOINT, files="checkpoints", example="AWQ"),
    ACCELERATE: _Reader(formats=_CHECKPOINT, files="checkpoints", example="AWQ"),
    FREETOKEN: _Reader(formats=_FREETOKEN, files="checkpoints", example="fp8"),
    EXLLAMAV3: _Reader(formats=_WIDE | {"trellis"}, files="EXL3 files", example="EXL3-4.0bpw"),
}
_GGUF_PROGRAMS = frozenset(name for name, own in _READERS.items() if own.files == "GGUF files")

_AS_GGUF: Mapping[str, tuple[str, str]] = {
    "mxfp4": ("MXFP4_MOE", "experts as they are and the rest in Q8_0"),
    "fp8": ("Q8_0", "which has about as many bits"),
    "mxfp8": ("Q8_0", "which has about as many bits"),
    "int8": ("Q8_0", "which has about as many bits"),
}
"""The GGUF scheme nearest to a checkpoint, by the format of its experts, and how it differs.

Experts in MXFP4 are converted as they are, and the rest is in Q8_0: llama-quant.cpp,
MOSTLY_MXFP4_MOE; gpt-oss-120b of 59.02 GiB in llama.cpp pull request 19922.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model as a program's file stores it.

    ``quantization`` is the scheme of the file's weights; None stands for the model's own.
    ``assumptions`` say which file is taken where the model's own cannot be loaded.
    """

    model: Model
    quantization: str | None
    assumptions: tuple[str, ...] = ()


def load_model_for(runtime: str, name: str, quantization: str | None) -> ModelFile:
    """Load a model as the file that the runtime reads stores it.

    For a runtime that reads GGUF alone, a checkpoint in 8 bits, or with experts in MXFP4, is
    replaced by the nearest GGUF file. Raises InputError for other formats that the runtime cannot
    load, and as ``load_model`` does.
    """
    model = load_model(name, quantization)
    reader = _READERS.get(runtime)
    if reader is None or model.quantization in BY_BITS:
        return ModelFile(model=model, quantization=quantization)
    lacking = sorted(_formats_of(model) - reader.formats)
    nearest = _AS_GGUF.get(model.dtype(_largest(model)))
    if runtime in _GGUF_PROGRAMS and nearest is not None and _is_checkpoint(model):
        scheme, difference = nearest
        said = f"{runtime} reads GGUF files, which have no {' or '.join(lacking)}: {scheme} is taken, {difference}"
        return ModelFile(
            model=load_model(name, scheme),
            quantization=scheme,
            assumptions=(f"{said}; `quantization` names another",) if lacking else (),
        )
    if lacking:
        raise InputError(
            f"{runtime} cannot load {model.quantization}: it reads {reader.files}, which have no "
            f"{' or '.join(lacking)}; name what its file is in as `quantization`, such as {reader.example}"
        )
    return ModelFile(model=model, quantization=quantization)


def _largest(model: Model) -> TensorClass:
    """The class that holds most weights."""
    return TensorClass.DENSE_FFN if model.is_dense else TensorClass.EXPERT


def _formats_of(model: Model) -> frozenset[str]:
    """The formats of all classes that have weights."""
    classes = {*model.top_params, *(name for layer in model.layers for name in layer.params)}
    formats = {model.dtype(tensor_class) for tensor_class in classes}
    # Both trellis formats are of one size, but neither program reads the other's.
    if model.quantization.upper().startswith("EXL2"):
        formats = {"exl2" if name == "trellis" else name for name in formats}
    return frozenset(formats)


def _is_checkpoint(model: Model) -> bool:
    """Whether the model's scheme is of checkpoints, not of GGUF files."""
    scheme = find_scheme(model.quantization)
    is_mix = scheme is not None and scheme.mix is not None
    return not is_mix and model.quantization.lower() != "gguf"
