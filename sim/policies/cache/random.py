"""Eviction at random: what a cache should at least beat."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCache(Cache):
    """Evicts an expert drawn at random, by the seed of the run.

    ``is_global``: one budget over all layers. ``starts_empty``: no slot holds an expert at time 0.
    """

    is_global: bool = False
    starts_empty: bool = False

    score = Score.RANDOM
