"""A study of cache policies as it is written to JSON."""

from collections.abc import Sequence

from pydantic import ConfigDict

from planner.study.caches import CacheMedian, CacheRow
from rosin.report.document import Document


class _Part(Document):
    model_config = ConfigDict(from_attributes=True)


class StudiedCache(_Part):
    """One policy with one size in one model."""

    model: str
    share: float
    slots: int
    policy: str
    miss_fraction: float
    admitted_fraction: float
    reads_per_token: float
    over_optimum: float


class MedianCache(_Part):
    """The median over models of a policy's misses over the optimum's."""

    share: float
    policy: str
    over_optimum: float


class CacheStudyResult(_Part):
    """What ``rosin caches`` answers. ``tokens`` is null for a recorded trace."""

    tokens: int | None
    layers: int
    rows: tuple[StudiedCache, ...]
    medians: tuple[MedianCache, ...]


def study_result(
    rows: Sequence[CacheRow], medians: Sequence[CacheMedian], tokens: int | None, layers: int
) -> CacheStudyResult:
    """The document of a study."""
    return CacheStudyResult(
        tokens=tokens,
        layers=layers,
        rows=tuple(StudiedCache.model_validate(row) for row in rows),
        medians=tuple(MedianCache.model_validate(item) for item in medians),
    )
