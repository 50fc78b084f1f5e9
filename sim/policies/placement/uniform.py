"""As many experts in every layer, the most popular of each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement, expert_sizes, top_per_layer
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformPlacement(RankedPlacement):
    """The largest equal number of experts per MoE layer that fits; within a layer by popularity, ties to the lower expert."""

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """See RankedPlacement."""
        return problem.popularity

    def fill(self, problem: Problem, score: NDArray[np.float64], left: int) -> NDArray[np.bool_]:
        """See RankedPlacement."""
        one_of_each = int(expert_sizes(problem)[list(problem.model.moe_layers)].sum())
        return top_per_layer(problem, score, min(left // one_of_each, problem.model.num_experts))
