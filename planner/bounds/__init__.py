"""Proven lower limits on a run's times, and what more of a resource would change."""

from planner.bounds.bound import Bound
from planner.bounds.clairvoyant import clairvoyant_bound
from planner.bounds.shadow import shadow_prices
from planner.bounds.static import static_bound

__all__ = ["Bound", "clairvoyant_bound", "shadow_prices", "static_bound"]
