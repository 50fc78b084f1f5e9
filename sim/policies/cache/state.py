"""A cache while it runs, for caches that code of their own decides."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray


class CacheState(ABC):
    """A cache during one run; the only part that changes."""

    @abstractmethod
    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of a layer's selected experts are resident; all are decided together, before any of
        them is admitted.
        """

    @abstractmethod
    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take in fetched experts, in order; returns the experts that left."""

    def reallocate(
        self, layer: int, tokens: NDArray[np.int32], *, is_prefill: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Selected experts that the gate's counts [expert] bring in for good, before any is looked
        up, and those whose places they take.

        By default none.
        """
        return np.empty(0, np.int64), np.empty(0, np.int64)

    @property
    def residents(self) -> NDArray[np.bool_] | None:
        """What is held [layer, expert], where no decode step changes that, whatever it runs; by
        default None: it may.
        """
        return None
