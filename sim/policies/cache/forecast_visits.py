"""Eviction by forecast and visits, as in fMoE."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastVisitsCache(Cache):
    """Evicts the expert of the largest 1 / (p · visits), where p is the prefetch's forecast (fMoE,
    arXiv 2502.05370), or the popularity without one.

    Two things that the paper leaves open are assumed. An expert that has come in counts as visited,
    and an expert fetched ahead stays until its layer's gate. ``is_global``: one budget over all
    layers, as fMoE has it. ``is_emptied``: the cache starts empty, and gives up every expert once a
    pass has run.
    """

    is_global: bool = True
    is_emptied: bool = False

    score = Score.FORECAST_TIMES_VISITS
