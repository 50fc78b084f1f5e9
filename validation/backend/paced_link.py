"""A link that is played by the host's own memory: copies in small pieces, each slept out to the rate that the link is said to have."""

import time

from torch import Tensor

from hwprofiles.units import KIB, NS_PER_S
from validation.backend.pacing import sleep_until

PIECE_BYTES = 512 * KIB
"""Small enough that what shares memory with the copy sees a steady trickle, large enough that waking up costs little of it."""


class PacedLink:
    """One direction of an emulated link.

    A piece may start once those before it would have ended at the stated rate: lateness of one piece is made up for by the next, and a
    copy never takes less than ``latency_ns`` + bytes / ``bytes_per_s``.
    """

    def __init__(self, bytes_per_s: float, latency_ns: int = 0) -> None:
        assert bytes_per_s > 0 and latency_ns >= 0, "a link has a rate"
        self._bytes_per_s, self._latency_ns = bytes_per_s, latency_ns

    def duration_ns(self, num_bytes: int) -> int:
        """How long a copy of that many bytes is made to last."""
        return self._latency_ns + round(num_bytes / self._bytes_per_s * NS_PER_S)

    def copy(self, destination: Tensor, source: Tensor) -> int:
        """Copy flat tensors of as many elements, and return when the link would have; returns the bytes copied."""
        start_ns, element_bytes = time.perf_counter_ns(), source.element_size()
        piece = max(1, PIECE_BYTES // element_bytes)
        for first in range(0, source.numel(), piece):
            end = min(first + piece, source.numel())
            destination[first:end].copy_(source[first:end])
            sleep_until(start_ns + self.duration_ns(end * element_bytes))
        return int(source.nbytes)
