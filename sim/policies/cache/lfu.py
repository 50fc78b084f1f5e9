"""Least frequently used."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class LfuCache(Cache):
    """Evicts the expert that was selected in the fewest passes since the run began; of several, the
    one that was selected longest ago.

    Passes are counted for absent experts too. ``is_global``: one budget over all layers.
    ``starts_empty``: no slot holds an expert at time 0.
    """

    is_global: bool = False
    starts_empty: bool = False

    score = Score.FREQUENCY
