"""Any one leaves: the bound from below."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCache(Cache):
    """An expert drawn at random leaves, by the seed of the run.

    ``is_global``: one budget over all layers; ``starts_empty``: as in Cache.
    """

    is_global: bool = False
    starts_empty: bool = False

    score = Score.RANDOM
