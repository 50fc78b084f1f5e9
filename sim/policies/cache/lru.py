"""Least recently used, per layer."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.memory import Residency
from sim.policies.base import Cache, CacheState


@dataclass(frozen=True, slots=True, kw_only=True)
class LruCache(Cache):
    """Each layer keeps as many experts as it started with; the least recently selected leaves first.

    ``writes_back``: an expert that leaves is copied back to the host first, as Mixtral-Offloading's swap does.
    Experts selected together count as used in the order of their numbers.
    """

    is_static = False
    writes_back: bool = False

    def start(self, residency: Residency) -> CacheState:
        """See Cache."""
        return _Recency(residency.experts)


class _Recency(CacheState):
    """Per layer, resident experts from the least to the most recently used."""

    def __init__(self, experts: NDArray[np.bool_]) -> None:
        self._resident = [OrderedDict.fromkeys(np.flatnonzero(row).tolist()) for row in experts]
        self._capacity = [len(row) for row in self._resident]

    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        resident = self._resident[layer]
        is_hit = [expert in resident for expert in experts.tolist()]
        for expert, hit in zip(experts.tolist(), is_hit, strict=True):
            if hit:
                resident.move_to_end(expert)
        return np.array(is_hit, bool)

    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        resident, victims = self._resident[layer], []
        for expert in experts.tolist():
            resident[expert] = None
            resident.move_to_end(expert)
            if len(resident) > self._capacity[layer]:
                victims.append(resident.popitem(last=False)[0])
        return np.array(victims, np.int64)
