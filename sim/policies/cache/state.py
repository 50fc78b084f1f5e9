"""The state of a cache that decides by code of its own."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray


class CacheState(ABC):
    """The state of a cache during one run: the only thing of a policy that changes."""

    @abstractmethod
    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of a layer's selected experts are resident, one bool for each. The call
        covers all of a gate's experts, before any of them is admitted.
        """

    @abstractmethod
    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take in the fetched experts of a layer, in order, and return the experts that left."""

    def reallocate(
        self, layer: int, tokens: NDArray[np.int32], *, is_prefill: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the selected experts of a layer that come in for good, and the experts whose
        places they take.

        A run asks before it looks up any expert of the gate. ``tokens`` [expert] are the gate's
        counts. By default none comes in.
        """
        return np.empty(0, np.int64), np.empty(0, np.int64)

    @property
    def residents(self) -> NDArray[np.bool_] | None:
        """The experts held [layer, expert], if no decode step changes them, whatever it runs; None,
        the default, if one may.
        """
        return None
