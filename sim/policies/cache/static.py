"""The cache that evicts nothing: what starts on the GPU stays there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies.cache.base import Cache
from sim.policies.cache.state import CacheState


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticCache(Cache):
    """Keeps the experts that start on the GPU. A fetched expert is used from its staging buffer and
    forgotten.
    """

    is_static = True

    def start(self, residency: Residency) -> CacheState:
        """Return residents that never change, for a dispatch that is asked pass by pass."""
        return Unchanging(residency)


class Unchanging(CacheState):
    """The state of a cache that always holds what the GPU held at time 0."""

    def __init__(self, residency: Residency) -> None:
        self._experts = residency.experts

    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the experts the GPU held at time 0."""
        return np.asarray(self._experts[layer, experts])

    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take in none of the experts."""
        return np.empty(0, np.int64)

    @property
    def residents(self) -> NDArray[np.bool_]:
        """The experts [layer, expert] that the GPU held at time 0."""
        return self._experts
