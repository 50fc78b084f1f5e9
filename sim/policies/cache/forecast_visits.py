"""Worth by a forecast and by visits: fMoE's eviction."""

from dataclasses import dataclass

from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastVisitsCache(Cache):
    """The largest 1 / (p · visits) leaves, p being the prefetcher's forecast (fMoE, arXiv
    2502.05370); popularity where it makes none.

    Two things the paper does not say are assumed: to come in counts as a visit, and what was
    fetched ahead stays until its layer's gate. ``is_global``: one budget over all layers, as fMoE
    has it. ``is_emptied``: as in Cache.
    """

    is_global: bool = True
    is_emptied: bool = False

    score = Score.FORECAST_TIMES_VISITS
