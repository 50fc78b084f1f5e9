"""Proven lower limits on a run's times, and what more of a resource would change."""

from planner.bounds.draws import MeanBounds, mean_bounds
from planner.bounds.shadow import mean_shadow_prices

__all__ = [
    "MeanBounds",
    "mean_bounds",
    "mean_shadow_prices",
]
