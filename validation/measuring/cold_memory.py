"""Memory in which nothing that is read was read a short time ago, so that weights come from memory
and not from a cache.
"""

import torch
from torch import Tensor

from hwprofiles.units import MIB
from validation.backend.architecture import Shapes
from validation.backend.weights import Block

PATTERN_ELEMENTS = 4 * MIB
ALIGNMENT = 64
"""Elements that blocks begin at multiples of: a cache line, whatever the format."""

DEVIATION = 0.02
"""The deviation of the numbers in it: what weights are like, so that no arithmetic is slowed by
numbers near 0.
"""


class ColdMemory:
    """Numbers of one format; each block that is taken follows the last, round and round: between
    two uses of a byte, all others pass.
    """

    def __init__(
        self, num_bytes: int, dtype: torch.dtype, device: torch.device, *, is_pinned: bool = False
    ) -> None:
        count = -(-num_bytes // dtype.itemsize)
        self._flat = torch.empty(count, dtype=dtype, device=device, pin_memory=is_pinned)
        # One pattern repeats, because drawing gigabytes would take longer than measuring.
        pattern = (
            torch.randn(min(count, PATTERN_ELEMENTS), generator=torch.Generator().manual_seed(0))
            * DEVIATION
        ).to(device, dtype)
        for first in range(0, count, len(pattern)):
            piece = self._flat[first : first + len(pattern)]
            # Written once, so that the system has given all of its pages before they are read.
            piece.copy_(pattern[: len(piece)])
        self._next = 0

    @property
    def dtype(self) -> torch.dtype:
        """The format of its numbers."""
        return self._flat.dtype

    @property
    def device(self) -> torch.device:
        """The device that holds it."""
        return self._flat.device

    @property
    def num_bytes(self) -> int:
        """How many bytes the memory has."""
        return int(self._flat.nbytes)

    def take(self, count: int) -> Tensor:
        """Return that many numbers in a row, the ones not taken for longest. There must be as many."""
        assert count <= len(self._flat), f"{count} numbers of {len(self._flat)} are asked for"
        first = (
            self._next if self._next + count <= len(self._flat) else 0
        )  # read once: two lanes may take at the same time
        self._next = first + -(-count // ALIGNMENT) * ALIGNMENT
        return self._flat[first : first + count]

    def block(self, shapes: Shapes) -> Block:
        """Weights of these shapes, one after another."""
        return Block(self.take(sum(torch.Size(shape).numel() for shape in shapes.values())), shapes)
