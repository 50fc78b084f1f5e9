"""Packings of one matrix: bits of a weight, and the scales and zero points beside them."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """One way to store a matrix of rows (outputs) × columns (inputs).

    ``format`` names it in sim.model.quantization.FORMATS. A tile of ``tile_rows`` ×
    ``tile_columns`` (None: all of them) shares one scale of ``scale_bits`` and one zero point of
    ``zero_bits``. ``row_bits``, ``column_bits`` and ``tensor_bytes`` are kept for each row, each
    column, and the whole.
    """

    format: str
    bits: float
    scale_bits: float = 0
    zero_bits: float = 0
    tile_rows: int | None = 1
    tile_columns: int | None = None
    row_bits: int = 0
    column_bits: int = 0
    tensor_bytes: int = 0

    def num_bytes(self, rows: int, columns: int) -> int:
        """Bytes of a matrix of that shape, whole tiles and whole bytes."""
        tiles = _parts(rows, self.tile_rows) * _parts(columns, self.tile_columns)
        bits = rows * columns * self.bits + tiles * (self.scale_bits + self.zero_bits)
        bits += rows * self.row_bits + columns * self.column_bits
        # Bits are added up first: a row of 3-bit weights need not end at a byte.
        return math.ceil(bits / 8) + self.tensor_bytes


def _parts(length: int, tile: int | None) -> int:
    return 1 if tile is None else -(-length // tile)


def wide(name: str, bits: int) -> Packing:
    """Weights as they are, in a float of that many bits."""
    return Packing(format=name, bits=bits)


def grouped_integers(
    bits: int, group: int, *, scale_bits: float = 16, zero_bits: float = 0, column_bits: int = 0
) -> Packing:
    """Integers, a scale for each group of a row; a group of −1 or 0 is the whole row."""
    return Packing(
        format=f"int{bits}",
        bits=bits,
        scale_bits=scale_bits,
        zero_bits=zero_bits,
        tile_columns=group if group > 0 else None,
        column_bits=column_bits,
    )


def fp8_by_tensor(scale_bits: int = 32, num_scales: int = 1) -> Packing:
    """8-bit floats with one scale for the tensor; ``num_scales`` 2 has one more for the
    activations.
    """
    return Packing(format="fp8", bits=8, tensor_bytes=num_scales * scale_bits // 8)


def fp8_by_row(scale_bits: int = 32) -> Packing:
    """8-bit floats with a scale for each output."""
    return Packing(format="fp8", bits=8, scale_bits=scale_bits)


def fp8_by_block(rows: int, columns: int, scale_bits: int = 32) -> Packing:
    """8-bit floats with a scale for each block (DeepSeek-V3: 128 × 128, arXiv 2412.19437)."""
    return Packing(
        format="fp8", bits=8, scale_bits=scale_bits, tile_rows=rows, tile_columns=columns
    )


def mx(name: str, bits: int, group: int = 32) -> Packing:
    """A microscaling format: an 8-bit exponent for each group (OCP MX v1.0, 2023)."""
    return Packing(format=name, bits=bits, scale_bits=8, tile_columns=group)


def nvfp4(group: int = 16, num_scales: int = 2) -> Packing:
    """4-bit floats with an 8-bit scale for each group, and ``num_scales`` 32-bit scales of the
    whole tensor.
    """
    return Packing(
        format="nvfp4",
        bits=4,
        scale_bits=8,
        tile_columns=group,
        tensor_bytes=4 * num_scales,
    )
