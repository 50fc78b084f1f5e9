"""Storage formats of weights and their real bytes per weight, scales and block structure included."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwprofiles import InputError
from sim.model.model import TensorClass
from sim.model.storage_types import STORAGE_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFormat:
    """A storage format of weights: ``block_bytes`` bytes hold ``block_weights`` weights.

    ``source`` says where the layout is defined.
    """

    name: str
    block_weights: int
    block_bytes: int
    source: str

    def num_bytes(self, num_weights: int) -> int:
        """Bytes of that many weights, in whole blocks."""
        # Rounded up: a block that is not full takes its bytes all the same.
        return -(-num_weights // self.block_weights) * self.block_bytes

    @property
    def bytes_per_weight(self) -> float:
        """Bytes per weight, scales of the block included."""
        return self.block_bytes / self.block_weights


_GGML = (
    "block layouts of llama.cpp (ggml-common.h, commit 0c1e57098) and of ik_llama.cpp (8337e4cd)"
)
_OCP = "OCP Microscaling Formats (MX) v1.0, 2023: 32 FP4 values and one 8-bit scale"
_OCP_6 = "OCP Microscaling Formats (MX) v1.0, 2023: 32 FP6 values and one 8-bit scale"
_OCP_8 = "OCP Microscaling Formats (MX) v1.0, 2023: 32 FP8 values and one 8-bit scale"
_NVFP4 = "NVIDIA NVFP4: 16 FP4 (e2m1) values and one e4m3 scale, four of them a block in ggml; a 32-bit scale a tensor is left out"
_BY_TENSOR = (
    "integers; scales and zero points are counted tensor by tensor, by the checkpoint's settings"
)


KV_TYPES = ("f32", "f16", "bf16", "fp8", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Formats that runtimes store keys and values in: llama.cpp's `-ctk`, and vLLM's fp8."""

_NO_WEIGHTS = frozenset({"i8", "i16", "i32", "i64", "f64", "i2_s", "q8_1", "q8_k"})
"""Types of the table that hold no weights of a product (integers, activations), or no whole blocks.
"""


def _formats(*rows: tuple[str, int, int, str]) -> Mapping[str, StorageFormat]:
    """Return the formats of the rows by name, and the block types of GGUF files that the rows do
    not name.

    A scale that such a type has for each row of a tensor is left out.
    """
    made = {
        name: StorageFormat(name=name, block_weights=weights, block_bytes=size, source=source)
        for name, weights, size, source in rows
    }
    for kind in STORAGE_TYPES.values():
        # Rows stated below go first: they cite the format's own definition, not one program's
        # layout.
        if kind.name not in made and kind.name not in _NO_WEIGHTS:
            made[kind.name] = StorageFormat(
                name=kind.name,
                block_weights=kind.block,
                block_bytes=kind.num_bytes,
                source=_GGML,
            )
    return MappingProxyType(made)


FORMATS = _formats(
    ("f32", 1, 4, "IEEE 754"),
    ("bf16", 1, 2, "bfloat16"),
    ("f16", 1, 2, "IEEE 754"),
    (
        "fp8",
        1,
        1,
        "DeepSeek-V3 technical report 2412.19437: e4m3; block scales of 1/16384 weight are left out",
    ),
    ("mxfp4", 32, 17, _OCP),
    ("mxfp6", 32, 25, _OCP_6),
    ("mxfp8", 32, 33, _OCP_8),
    ("nvfp4", 64, 36, _NVFP4),
    (
        "nf4",
        64,
        34,
        "QLoRA 2305.14314: 4-bit codes, a 32-bit scale for 64; double quantisation is smaller",
    ),
    ("int8", 8, 8, _BY_TENSOR),
    ("int7", 8, 7, _BY_TENSOR),
    ("int6", 8, 6, _BY_TENSOR),
    ("int5", 8, 5, _BY_TENSOR),
    ("int4", 8, 4, _BY_TENSOR),
    ("int3", 8, 3, _BY_TENSOR),
    ("int2", 8, 2, _BY_TENSOR),
    ("int1", 8, 1, _BY_TENSOR),
    ("codebook", 8, 2, "AQLM 2401.06118; a checkpoint's settings say how many bits"),
    ("trellis", 8, 4, "ExLlamaV2 and V3; a checkpoint's settings say how many bits"),
)
"""Formats by name."""

_WIDE = {tensor_class: "bf16" for tensor_class in TensorClass}
_KEPT_WIDE = {TensorClass.NORM: "bf16", TensorClass.ROUTER: "bf16"}

SCHEMES: Mapping[str, Mapping[TensorClass, str]] = MappingProxyType(
    {
        "16bit": MappingProxyType(_WIDE),
        "8bit": MappingProxyType(
            {tensor_class: "q8_0" for tensor_class in TensorClass} | _KEPT_WIDE
        ),
        "4bit": MappingProxyType(
            {tensor_class: "q4_k" for tensor_class in TensorClass} | _KEPT_WIDE
        ),
        "4bit-experts": MappingProxyType(_WIDE | {TensorClass.EXPERT: "q4_k"}),
        "fp8": MappingProxyType(
            {tensor_class: "fp8" for tensor_class in TensorClass}
            | _KEPT_WIDE
            | {TensorClass.EMBEDDING: "bf16", TensorClass.HEAD: "bf16"}
        ),
        "mxfp4": MappingProxyType(_WIDE | {TensorClass.EXPERT: "mxfp4"}),
    }
)
"""Format of each tensor class under the schemes of one format a class; routers and norms stay 16
bit in all of them.
"""


def class_bytes(
    params: Mapping[TensorClass, int], dtypes: Mapping[TensorClass, str]
) -> Mapping[TensorClass, int]:
    """Bytes of each class, given its weights and its format.

    Raises InputError for an unknown format.
    """
    # Before any is looked up: the message lists what there is, where a KeyError would not.
    for dtype in dtypes.values():
        if dtype not in FORMATS:
            raise InputError(f"no storage format named {dtype!r}; known: {', '.join(FORMATS)}")
    return {
        tensor_class: FORMATS[dtypes[tensor_class]].num_bytes(count)
        for tensor_class, count in params.items()
    }
