"""Memory whose numbers were not read lately, so that weights come from memory and not from a
cache.
"""

import torch
from torch import Tensor

from hwprofiles.units import MIB
from validation.backend.architecture import Shapes
from validation.backend.weights import Block

PATTERN_ELEMENTS = 4 * MIB
ALIGNMENT = 64
"""Elements of which blocks begin at a multiple: a cache line or more, whatever the format."""

DEVIATION = 0.02
"""Standard deviation of the numbers in the memory, as of weights.

Numbers near 0 would slow arithmetic.
"""


class ColdMemory:
    """Numbers of one format, taken block by block, round and round.

    Between two uses of a byte, all other bytes pass.
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
        """Format of the numbers."""
        return self._flat.dtype

    @property
    def device(self) -> torch.device:
        """Device of the memory."""
        return self._flat.device

    @property
    def num_bytes(self) -> int:
        """Bytes of the memory."""
        return int(self._flat.nbytes)

    def take(self, count: int) -> Tensor:
        """Return ``count`` numbers in a row, those not taken for longest. The memory must have as
        many.
        """
        assert count <= len(self._flat), f"{count} numbers of {len(self._flat)} are asked for"
        first = (
            self._next if self._next + count <= len(self._flat) else 0
        )  # read once: two lanes may take at the same time
        self._next = first + -(-count // ALIGNMENT) * ALIGNMENT
        return self._flat[first : first + count]

    def block(self, shapes: Shapes) -> Block:
        """Return a block of these shapes in the memory, one tensor after another."""
        return Block(self.take(sum(torch.Size(shape).numel() for shape in shapes.values())), shapes)
