"""Eviction by forecast and depth, as in MoE-Infinity."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastDepthCache(Cache):
    """Evicts the expert of the smallest p · (1 - layer / layers), where p is the prefetch's
    forecast (MoE-Infinity, arXiv 2401.14361), or the popularity without one.

    ``is_global``: one budget over all layers, as MoE-Infinity has it. ``is_emptied``: the cache
    starts empty, and gives up every expert once a pass has run.
    """

    is_global: bool = True
    is_emptied: bool = False

    score = Score.FORECAST_BY_DEPTH
