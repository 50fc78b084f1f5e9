"""Dispatches that weigh the CPU against a copy: a rule, and what it believes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import Dispatch, Problem
from sim.policies.dispatch.belief import Source, belief
from sim.policies.dispatch.split import Rule, split_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class BelievingDispatch(Dispatch):
    """Applies its ``rule`` to believed prices."""

    believed_cost: Source = "priced"

    @property
    def rule(self) -> Rule:
        """Which of the compiled rules."""
        raise NotImplementedError

    def assign(self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem) -> NDArray[np.uint8]:
        """See Dispatch."""
        believed = belief(self.believed_cost, layer, int(tokens.max(initial=0)), problem)
        actions = np.zeros(tokens.shape, np.uint8)
        cases = (-1, tokens.shape[-1])
        priced = [column[tokens].reshape(cases) for column in believed]
        split_rows(int(self.rule), tokens.reshape(cases), is_miss.reshape(cases), *priced, actions.reshape(cases))
        return actions
