"""Benches: a thread for each lane on which work runs and is timed.

The lanes are the accelerator, the CPU, and the two directions of the link.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from hwprofiles.units import NS_PER_MS
from validation.backend.cores import Worker
from validation.backend.stream import Stream
from validation.measuring.timing import MeanTime, num_evictions

Work = Callable[[], Any]
"""Work that is timed; everything that it needs has been made before."""

BUSY_BATCH_NS = 5 * NS_PER_MS
"""Duration of the work that a bench that is kept busy gets at a time."""


class Bench(ABC):
    """Runs work on a thread of its own. Benches differ by name, and by cores or stream."""

    def __init__(self, name: str, device: torch.device, worker: Worker) -> None:
        self.name = name
        self.device = device
        self.cores = frozenset(worker.cores)
        # Cores are set for the calling thread alone, so the bench's own thread does it.
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"bench {name}", initializer=worker.settle
        )

    def time(self, works: Sequence[Work]) -> MeanTime:
        """Run the works one after another, and return their mean time."""
        timing: MeanTime = self._thread.submit(self._timed, works).result()
        return timing

    def run(self, work: Work) -> Any:
        """Run work on the bench's thread, wait for it, and return its result."""
        return self._thread.submit(self._alone, work).result()

    @contextmanager
    def kept_busy(self, makes: Callable[[], Work], lasts_ns: float) -> Iterator[None]:
        """Repeat work of about ``lasts_ns`` while the block runs.

        The first work begins before the block does.
        """
        count = max(1, round(BUSY_BATCH_NS / max(1.0, lasts_ns)))
        stop = threading.Event()
        begun = threading.Event()

        def repeat() -> None:
            """Keep the lane busy until it is told to end."""
            while not stop.is_set():
                self._timed([makes() for _ in range(count)], begun.set)

        running = self._thread.submit(repeat)
        # What is timed in the block has to meet the lane busy from its first moment.
        begun.wait()
        try:
            yield
        finally:
            stop.set()
            # Raises what went wrong in the repeated work.
            running.result()

    def close(self) -> None:
        """End the thread that work is given to."""
        self._thread.shutdown()

    def _alone(self, work: Work) -> Any:
        with torch.inference_mode():
            return work()

    @abstractmethod
    def _timed(self, works: Sequence[Work], on_begin: Callable[[], None] | None = None) -> MeanTime:
        """Run the works on the calling thread."""


class HostBench(Bench):
    """Cores of the host, timed by its clock; without cores, wherever the system puts the thread."""

    def __init__(self, name: str, cores: Sequence[int]) -> None:
        super().__init__(
            name, torch.device("cpu"), Worker(cores=tuple(cores), num_threads=max(1, len(cores)))
        )

    def _timed(self, works: Sequence[Work], on_begin: Callable[[], None] | None = None) -> MeanTime:
        if on_begin is not None:
            on_begin()
        with torch.inference_mode():
            evictions = num_evictions()
            start_ns = time.perf_counter_ns()
            for work in works:
                work()
            lasted_ns = time.perf_counter_ns() - start_ns
            return MeanTime(ns=lasted_ns / len(works), is_disturbed=num_evictions() > evictions)


class StreamBench(Bench):
    """A stream of an accelerator, timed by marks on the stream.

    The time is that of the stream's own work, however far ahead the host launches it.
    """

    def __init__(self, name: str, device: torch.device, stream: Stream) -> None:
        super().__init__(name, device, Worker())
        self._stream = stream

    def _alone(self, work: Work) -> Any:
        with torch.inference_mode(), self._stream.use():
            found = work()
        self._stream.mark().wait()
        return found

    def _timed(self, works: Sequence[Work], on_begin: Callable[[], None] | None = None) -> MeanTime:
        start = self._stream.mark()
        with torch.inference_mode(), self._stream.use():
            for work in works:
                work()
        end = self._stream.mark()
        # The works stand in the queue by now, so the lane is busy before any wait.
        if on_begin is not None:
            on_begin()
        end.wait()
        return MeanTime(ns=end.ns_since(start) / len(works))
