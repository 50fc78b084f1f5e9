"""Worth by a forecast and by depth: MoE-Infinity's eviction."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastDepthCache(Cache):
    """The smallest p · (1 - layer / layers) leaves, p being the prefetcher's forecast
    (MoE-Infinity, arXiv 2401.14361).

    ``is_global``: one budget over all layers, as MoE-Infinity has it. ``is_emptied``: as in Cache.
    """

    is_global: bool = True
    is_emptied: bool = False

    score = Score.FORECAST_BY_DEPTH
