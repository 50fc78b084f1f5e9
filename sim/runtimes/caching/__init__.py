"""Experts cached on a GPU by programs that keep them in host memory: how often they miss, and what that costs."""

from sim.runtimes.caching.experts import CachedExperts, MissRule
from sim.runtimes.caching.lanes import Lanes, estimated_both
from sim.runtimes.caching.locality import Locality, locality_of
from sim.runtimes.caching.pricing import CachedStep, CacheRates, cached_decode, cached_prefill

__all__ = [
    "CacheRates",
    "CachedExperts",
    "CachedStep",
    "Lanes",
    "Locality",
    "MissRule",
    "cached_decode",
    "cached_prefill",
    "estimated_both",
    "locality_of",
]
