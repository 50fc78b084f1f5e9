"""Least recently used."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class LruCache(Cache):
    """As many experts as at the start, in every layer or over all; the least recently selected
    leaves first.

    Of experts selected together, those held are used first, then the missing, each by number.
    ``writes_back``: an expert that leaves is copied back to the host first, as Mixtral-Offloading's
    swap does. ``is_emptied``, ``starts_empty``: as in Cache.
    """

    writes_back: bool = False
    is_global: bool = False
    starts_empty: bool = False
    is_emptied: bool = False

    score = Score.RECENCY
