"""A timing, and whether something else had the processor meanwhile."""

import sys
from dataclasses import dataclass

if sys.platform == "linux":
    import resource


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanTime:
    """Mean time of one of some works, in ns.

    The time is disturbed if another process was given the core before the works were done.
    """

    ns: float
    is_disturbed: bool = False


def num_evictions() -> int:
    """Return how often the calling thread has been taken off its core for another thread.

    Only Linux tells; on other systems the number is 0.
    """
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if sys.platform == "linux" else 0
