"""As many experts in every layer, whichever they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class EvenPlacement(RankedPlacement):
    """Keeps the experts of the lowest numbers, as many in every layer. What is left over goes to
    the first layers. (KTransformers' uniform, which knows no popularity.)
    """

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Rank experts by their numbers, the lowest first, in all layers alike."""
        # Ties between layers go to the lower one: what is left over fills the first layers.
        return np.repeat(
            -np.arange(float(problem.model.num_experts))[None], problem.model.num_layers, axis=0
        )
