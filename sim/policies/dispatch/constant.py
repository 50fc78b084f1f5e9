"""Every miss meets the same fate: computed on the CPU, or fetched."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import Action, Dispatch, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuDispatch(Dispatch):
    """A missing expert is computed where it lies, on the CPU."""

    def assign(self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem) -> NDArray[np.uint8]:
        """See Dispatch."""
        return np.full(tokens.shape, Action.CPU, np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDispatch(Dispatch):
    """A missing expert is copied to the GPU and computed there."""

    def assign(self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem) -> NDArray[np.uint8]:
        """See Dispatch."""
        return np.full(tokens.shape, Action.FETCH, np.uint8)
