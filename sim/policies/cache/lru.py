"""Least recently used."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class LruCache(Cache):
    """Holds as many experts as at the start, in each layer or over all layers. The expert that was
    selected longest ago leaves first.

    Of experts selected together, those held are used first, then the missing, each by number.
    ``writes_back``: an expert that leaves is copied back to the host first, as Mixtral-Offloading's
    swap does. ``is_emptied``, ``starts_empty``: as in Cache.
    """

    writes_back: bool = False
    is_global: bool = False
    starts_empty: bool = False
    is_emptied: bool = False

    score = Score.RECENCY
