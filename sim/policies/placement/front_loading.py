"""The experts of the first layers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLoadingPlacement(RankedPlacement):
    """Keeps the experts of the first layers, one layer after another as far as memory goes
    (KTransformers' front-loading).
    """

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Rank the first layers first, each layer's experts alike."""
        # Whole numbers tie within a layer, and ties go by the lower expert.
        return np.repeat(
            -np.arange(float(problem.model.num_layers))[:, None], problem.model.num_experts, axis=1
        )
