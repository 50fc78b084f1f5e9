"""Random weights in the block formats of GGUF files.

Every block is valid: its scale is fixed and small, and all other bits are random. Layouts are those
of ggml-common.h of llama.cpp, commit 0c1e57098.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from hwprofiles import InputError, unknown_name

Bytes = NDArray[np.uint8]
CHUNK_BYTES = 1 << 24
"""Random bytes that are drawn at a time."""

HALF_SCALE = np.frombuffer(np.float16(2.0**-12).tobytes(), np.uint8)
"""Scale of a block as a 16-bit float, with which weights of every format are small."""

MX_EXPONENT = 119
"""2⁻⁸ as a scale of 8 exponent bits (E8M0)."""

NV_SCALE = 0x10
"""2⁻⁵ as a scale of 4 exponent and 3 fraction bits (UE4M3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedByte:
    """One byte of a block: the bits of ``random_mask`` are random, the others are ``value``'s."""

    offset: int
    value: int
    random_mask: int = 0


def _scales(*offsets: int) -> tuple[FixedByte, ...]:
    """16-bit scales at those offsets."""
    return tuple(
        FixedByte(offset=offset + index, value=int(HALF_SCALE[index]))
        for offset in offsets
        for index in (0, 1)
    )


# Of floats the exponent is fixed, so that their size is between 2⁻⁶ and 2⁻⁵; their sign is random.
FIXED_BYTES: Mapping[str, tuple[FixedByte, ...]] = {
    "f32": (
        FixedByte(offset=2, value=0x80, random_mask=0x7F),
        FixedByte(offset=3, value=0x3C, random_mask=0x80),
    ),
    "bf16": (
        FixedByte(offset=0, value=0x80, random_mask=0x7F),
        FixedByte(offset=1, value=0x3C, random_mask=0x80),
    ),
    "f16": (FixedByte(offset=1, value=0x24, random_mask=0x83),),
    "q4_0": _scales(0),
    "q4_1": _scales(0, 2),
    "q5_0": _scales(0),
    "q5_1": _scales(0, 2),
    "q8_0": _scales(0),
    "q2_k": _scales(80, 82),
    "q3_k": _scales(108),
    "q4_k": _scales(0, 2),
    "q5_k": _scales(0, 2),
    "q6_k": _scales(208),
    "iq2_xxs": _scales(0),
    "iq2_xs": _scales(0),
    "iq2_s": _scales(0),
    "iq3_xxs": _scales(0),
    "iq3_s": _scales(0),
    "iq1_s": _scales(0),
    "iq4_nl": _scales(0),
    "iq4_xs": _scales(0),
    "tq2_0": _scales(64),
    "mxfp4": (FixedByte(offset=0, value=MX_EXPONENT),),
    "nvfp4": tuple(FixedByte(offset=index, value=NV_SCALE) for index in range(4)),
}
"""The fixed bytes of a block, by the name of the format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFormat:
    """A format of GGUF files: ``block_bytes`` bytes hold ``block_weights`` weights."""

    name: str
    kind: GGMLQuantizationType
    block_weights: int
    block_bytes: int

    def num_bytes(self, num_weights: int) -> int:
        """Return the bytes of that many weights, which must be whole blocks."""
        return num_weights // self.block_weights * self.block_bytes

    def check_row(self, what: str, length: int) -> None:
        """Check that a row is whole blocks. Raises InputError if it is not."""
        if length % self.block_weights:
            raise InputError(
                f"{what} must be a multiple of {self.block_weights} for {self.name}, got {length}"
            )


def block_format(name: str) -> BlockFormat:
    """The format of that name. Raises InputError for one that cannot be written."""
    if name.lower() not in FIXED_BYTES:
        raise unknown_name("format of GGUF files", name, FIXED_BYTES)
    kind = next(kind for kind in GGMLQuantizationType if kind.name.lower() == name.lower())
    weights, size = GGML_QUANT_SIZES[kind]
    return BlockFormat(name=name.lower(), kind=kind, block_weights=weights, block_bytes=size)


def random_blocks(own: BlockFormat, num_blocks: int, generator: np.random.Generator) -> Bytes:
    """Draw that many blocks, as one row of bytes."""
    drawn = np.frombuffer(generator.bytes(num_blocks * own.block_bytes), np.uint8)
    # A view of drawn bytes cannot be written to.
    blocks = drawn.reshape(num_blocks, own.block_bytes).copy()
    for fixed in FIXED_BYTES[own.name]:
        column = blocks[:, fixed.offset]
        column &= np.uint8(fixed.random_mask)
        column |= np.uint8(fixed.value)
    return blocks.reshape(-1)
