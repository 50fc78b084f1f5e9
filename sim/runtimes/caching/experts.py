"""A runtime's cache of experts on a GPU, beside the experts in host memory."""

from dataclasses import dataclass
from enum import StrEnum


class MissRule(StrEnum):
    """A rule for the experts of a layer that the cache lacks.

    CPU computes them all on the CPU, FETCH copies them all. SPLIT copies as many as let the layer
    end first. SHARED copies the link's share of both rates, rounded, and the cache takes in only
    what is copied (FreeToken's hybrid). STREAM copies every miss, out of the page cache or else
    from the disk.
    """

    CPU = "cpu"
    FETCH = "fetch"
    SPLIT = "split"
    SHARED = "shared"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedExperts:
    """A cache of experts on the GPU.

    ``share`` is the cached share of each layer's experts. ``fetch_table`` says how many of a
    layer's 0, 1, 2 … misses are copied; None: as many as let the layer end first. ``num_ranks``
    processes hold a GPU each and share each expert's weights. ``hit_fraction`` replaces the hits
    that the policy would have. ``memory_share`` is the share of the experts that host memory holds
    beside the cache, where experts are streamed from a disk.
    """

    policy: str
    share: float
    misses: MissRule
    fetch_table: tuple[int, ...] | None = None
    num_ranks: int = 1
    hit_fraction: float | None = None
    memory_share: float = 0.0
