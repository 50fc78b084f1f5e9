"""Proven lower limits on a run's times, and what more of a resource would change."""

from planner.bounds.bound import Bound
from planner.bounds.static import static_bound

__all__ = ["Bound", "static_bound"]
