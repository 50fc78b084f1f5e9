"""The offline optimum: the bound from above."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class BeladyCache(Cache):
    """The expert whose next use lies furthest ahead leaves (Belady 1966), even the one just
    fetched, which then goes through a buffer.

    No real system can: it knows the future. No cache that fetches on demand has more hits of
    experts in one layer. ``is_global``: one budget over all layers; ``starts_empty``: as in Cache.
    """

    is_global: bool = False
    starts_empty: bool = False

    score = Score.NEXT_USE
