"""A study of cache policies as it is written to JSON."""

from planner.study.caches import CacheMedian, CacheRow
from rosin.report.document import Document


class CacheStudyResult(Document):
    """The answer of ``rosin caches``; ``tokens`` is null for a recorded trace."""

    tokens: int | None
    layers: int
    rows: tuple[CacheRow, ...]
    medians: tuple[CacheMedian, ...]
