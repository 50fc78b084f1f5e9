"""Where a lane's thread runs: on which core, with how many threads of torch's own."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from validation.backend.pacing import wake_promptly


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What a thread is given before its first task. ``core`` None: any; ``num_threads`` is torch's, inside one operation."""

    core: int | None = None
    num_threads: int = 1

    def settle(self) -> None:
        """Make the calling thread that worker."""
        wake_promptly()
        if self.core is not None:
            pin(self.core)
        torch.set_num_threads(self.num_threads)  # of this thread: a lane is one worker


def pin(core: int) -> None:
    """Keep the calling thread on one core; Linux alone can."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {core})


def unpin(cores: Iterable[int]) -> None:
    """Let the calling thread run on those cores again."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, set(cores))


def own_cores() -> tuple[int, ...]:
    """The cores that this process may use, in order."""
    if sys.platform == "linux":
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
