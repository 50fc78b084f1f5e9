"""Least recently used."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class LruCache(Cache):
    """Evicts the expert that was selected longest ago. The cache holds as many experts as at the
    start, in each layer or over all layers (``is_global``).

    Of experts selected together, the held ones count as used first, then the missing ones, each by
    number. ``writes_back``: an expert that leaves is copied back to the host first, as in
    Mixtral-Offloading's swap. ``is_emptied``: the cache starts empty, and gives up every expert
    once a pass has run. ``starts_empty``: no slot holds an expert at time 0.
    """

    writes_back: bool = False
    is_global: bool = False
    starts_empty: bool = False
    is_emptied: bool = False

    score = Score.RECENCY
