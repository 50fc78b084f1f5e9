"""Streams of an accelerator: queues of work that run by themselves, with marks to wait for.

CUDA streams and test doubles implement the two protocols.
"""

import time
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from hwprofiles.units import NS_PER_MS


class Mark(Protocol):
    """A place in a stream's queue, reached once all that was given before it is done."""

    def wait(self) -> None:
        """Return once the mark is reached."""

    def ns_since(self, earlier: "Mark") -> int:
        """Return the time between two marks that are reached, in ns."""


class Stream(Protocol):
    """A queue of an accelerator; the work given to it runs in that order."""

    def use(self) -> AbstractContextManager[object]:
        """Send what the calling thread launches within the block to this queue."""

    def mark(self) -> Mark:
        """Return a mark behind all work that was given so far."""

    def wait_for(self, mark: Mark) -> None:
        """Run the work that is given from now on only once that mark is reached."""


class StreamClock:
    """Instants of an accelerator's marks by the host's clock.

    The accelerator must be idle while this clock is made.
    """

    def __init__(self, stream: Stream, num_tries: int = 5) -> None:
        tries = [_tried(stream) for _ in range(num_tries)]
        # The try with the two looks nearest to each other is the least uncertain.
        _, self._base, self._base_ns = min(tries, key=lambda one: one[0])

    def instant_ns(self, mark: Mark) -> int:
        """Return the instant of ``time.perf_counter_ns`` at which the mark was reached.

        The instant is uncertain by some microseconds.
        """
        return self._base_ns + mark.ns_since(self._base)


def _tried(stream: Stream) -> tuple[int, Mark, int]:
    """Make a mark between two looks at the host's clock.

    Return the ns between both looks, the mark, and the instant in the middle.
    """
    before_ns = time.perf_counter_ns()
    mark = stream.mark()
    mark.wait()
    after_ns = time.perf_counter_ns()
    return after_ns - before_ns, mark, (before_ns + after_ns) // 2


class CudaMark:
    """A mark of a CUDA stream."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.event = torch.cuda.Event(enable_timing=True)
        self.event.record(stream)

    def wait(self) -> None:
        """Return once the mark is reached."""
        self.event.synchronize()

    def ns_since(self, earlier: Mark) -> int:
        """Return the time between two marks that are reached, to CUDA's half microsecond."""
        assert isinstance(earlier, CudaMark)
        return round(float(earlier.event.elapsed_time(self.event)) * NS_PER_MS)


class CudaStream:
    """A stream of the current CUDA device."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def use(self) -> AbstractContextManager[object]:
        """Send what the calling thread launches within the block to this queue."""
        context: AbstractContextManager[object] = torch.cuda.stream(self._stream)
        return context

    def mark(self) -> CudaMark:
        """Return a mark behind all that was given so far."""
        return CudaMark(self._stream)

    def wait_for(self, mark: Mark) -> None:
        """Run what is given from now on only once that mark is reached."""
        assert isinstance(mark, CudaMark)
        self._stream.wait_event(mark.event)
