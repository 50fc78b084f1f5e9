"""The cores that a lane's thread may use, and the number of torch's threads."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from validation.backend.pacing import wake_promptly


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The cores and threads that a lane's thread gets before its first task.

    Without ``cores`` it may use any core. ``num_threads`` is torch's number of threads inside one
    operation.
    """

    cores: tuple[int, ...] = ()
    num_threads: int = 1

    def settle(self) -> None:
        """Apply these settings to the calling thread."""
        wake_promptly()
        if self.cores:
            keep_to(self.cores)
        torch.set_num_threads(self.num_threads)  # of this thread: a lane is one worker


def keep_to(cores: Iterable[int]) -> None:
    """Keep the calling thread on those cores; this has an effect on Linux only."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, set(cores))


def own_cores() -> tuple[int, ...]:
    """The cores that this process may use, in order."""
    if sys.platform == "linux":
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
