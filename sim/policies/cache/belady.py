"""The offline optimum of caches: an upper bound on their hits."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class BeladyCache(Cache):
    """Evicts the expert whose next use lies furthest ahead (Belady 1966). It may be the one just
    fetched, which then goes through a buffer.

    No real system can do so: it knows the future. No cache that fetches on demand has more hits of
    experts in one layer. ``is_global``: one budget over all layers. ``starts_empty``: no slot holds
    an expert at time 0.
    """

    is_global: bool = False
    starts_empty: bool = False

    score = Score.NEXT_USE
