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
        """The residency, within GPU memory as the part accounts for it; Infeasible, with the bytes
        missing, when there is none.
        """

    @property
    def is_remade(self) -> bool:
        """Whether ``after_prompt`` may move experts."""
        return False

    def after_prompt(
        self, problem: Problem, residency: Residency, tokens: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """The experts [layer, expert] held from the first decoded token on, given the ``tokens``
        [layer, expert] of the prompt.

        As many of every layer as at time 0; where it moves any, the prompt's misses are fetched. By
        default nothing moves.
        """
        return residency.experts
