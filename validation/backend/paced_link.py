"""An emulated link: the host copies within its own memory in small pieces, each at its time."""

import time

from torch import Tensor

from hwprofiles.units import KIB, NS_PER_S
from validation.backend.copying import Copy
from validation.backend.pacing import rest_until, sleep_until

PIECE_BYTES = 512 * KIB
"""Bytes of a piece.

Pieces are small enough that others who use the memory see a steady trickle, and large enough that
waking up costs little of a piece.
"""


class PacedLink:
    """One direction of an emulated link.

    A copy never takes less than ``latency_ns`` + bytes / ``bytes_per_s``.
    """

    def __init__(self, bytes_per_s: float, latency_ns: int = 0) -> None:
        assert bytes_per_s > 0 and latency_ns >= 0, "a link has a rate"
        self._bytes_per_s = bytes_per_s
        self._latency_ns = latency_ns

    def duration_ns(self, num_bytes: int) -> int:
        """How long a copy of that many bytes is made to last."""
        return self._latency_ns + round(num_bytes / self._bytes_per_s * NS_PER_S)

    def copy(self, destination: Tensor, source: Tensor) -> int:
        """Copy a flat tensor to another of as many elements, and return the bytes copied.

        The call returns when the link would be done.
        """
        began_ns = time.perf_counter_ns()
        copy = Copy((destination, source))
        duration_ns = self.duration_ns(copy.num_bytes)
        copy_evenly(copy, began_ns, duration_ns)
        sleep_until(began_ns + duration_ns)
        return copy.num_bytes


def copy_evenly(copy: Copy, began_ns: int, duration_ns: int) -> int:
    """Copy piece by piece over ``duration_ns`` from ``began_ns`` on, and return the bytes copied.

    If a piece is late, the next pieces make up for it. The caller sleeps until the end. Between
    pieces the processor is left to other threads, which compute on it. So only the end is awaited
    by polling the clock.
    """
    pieces = copy.pieces(-(-copy.num_bytes // PIECE_BYTES))
    for number, piece in enumerate(pieces):
        rest_until(began_ns + duration_ns * number // len(pieces))
        piece()
    return copy.num_bytes
