"""Proven lower limits on a run's times, and what more of a resource would change."""

from planner.bounds.bound import Bound
from planner.bounds.clairvoyant import clairvoyant_bound
from planner.bounds.draws import MeanBounds, mean_bounds
from planner.bounds.shadow import mean_shadow_prices, shadow_prices
from planner.bounds.static import static_bound

__all__ = [
    "Bound",
    "MeanBounds",
    "clairvoyant_bound",
    "mean_bounds",
    "mean_shadow_prices",
    "shadow_prices",
    "static_bound",
]
