"""A link that is played by the host's own memory: copies in small pieces, none before its share of
the time has come.
"""

import time

from torch import Tensor

from hwprofiles.units import KIB, NS_PER_S
from validation.backend.copying import Copy
from validation.backend.pacing import rest_until, sleep_until

PIECE_BYTES = 512 * KIB
"""Small enough that what shares memory with the copy sees a steady trickle, large enough that
waking up costs little of it.
"""


class PacedLink:
    """One direction of an emulated link: a copy never takes less than ``latency_ns`` + bytes /
    ``bytes_per_s``.
    """

    def __init__(self, bytes_per_s: float, latency_ns: int = 0) -> None:
        assert bytes_per_s > 0 and latency_ns >= 0, "a link has a rate"
        self._bytes_per_s = bytes_per_s
        self._latency_ns = latency_ns

    def duration_ns(self, num_bytes: int) -> int:
        """How long a copy of that many bytes is made to last."""
        return self._latency_ns + round(num_bytes / self._bytes_per_s * NS_PER_S)

    def copy(self, destination: Tensor, source: Tensor) -> int:
        """Copy flat tensors of as many elements, and return when the link would have; returns the
        bytes copied.
        """
        began_ns = time.perf_counter_ns()
        copy = Copy((destination, source))
        duration_ns = self.duration_ns(copy.num_bytes)
        copy_evenly(copy, began_ns, duration_ns)
        sleep_until(began_ns + duration_ns)
        return copy.num_bytes


def copy_evenly(copy: Copy, began_ns: int, duration_ns: int) -> int:
    """Piece by piece over that time; lateness of one piece is made up for by the next, and the end
    is for the caller to sleep out.

    Between pieces the processor is left to others, who compute on it: only the end of a copy is
    worth asking the clock for.
    """
    pieces = copy.pieces(-(-copy.num_bytes // PIECE_BYTES))
    for number, piece in enumerate(pieces):
        rest_until(began_ns + duration_ns * number // len(pieces))
        piece()
    return copy.num_bytes
