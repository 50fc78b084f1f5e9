"""A timing, and whether something else had the processor meanwhile."""

import sys
from dataclasses import dataclass

if sys.platform == "linux":
    import resource


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanTime:
    """What one of some works took on average, in ns.

    It is disturbed where another process was given the core before they were done.
    """

    ns: float
    is_disturbed: bool = False


def num_evictions() -> int:
    """How often the calling thread has been taken off its core for another; Linux alone says,
    elsewhere always 0.
    """
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if sys.platform == "linux" else 0
