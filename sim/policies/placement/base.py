"""The placement: what the GPU holds at time 0."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Infeasible, Residency
from sim.policies.problem import Problem


class Placement(ABC):
    """Decides what the GPU holds at time 0."""

    @abstractmethod
    def place(self, problem: Problem) -> Residency | Infeasible:
        """Return the residency, within GPU memory as the part accounts for it. Where none fits,
        return Infeasible with the bytes that are missing.
        """

    @property
    def is_remade(self) -> bool:
        """Whether ``after_prompt`` may move experts."""
        return False

    def after_prompt(
        self, problem: Problem, residency: Residency, tokens: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return the experts [layer, expert] held from the first decoded token on, given the
        ``tokens`` [layer, expert] of the prompt.

        Every layer holds as many as at time 0. If the part moves any, the prompt's misses are
        fetched. By default nothing moves.
        """
        return residency.experts
