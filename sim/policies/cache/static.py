"""What starts on the GPU stays there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.memory import Residency
from sim.policies.base import Cache, CacheState


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticCache(Cache):
    """No expert ever leaves; a fetched one is used from its staging buffer and forgotten."""

    is_static = True
    writes_back = False

    def start(self, residency: Residency) -> CacheState:
        """See Cache."""
        return _Fixed(residency.experts)


class _Fixed(CacheState):
    def __init__(self, experts: NDArray[np.bool_]) -> None:
        self._experts = experts

    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(self._experts[layer, experts])

    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        return experts
