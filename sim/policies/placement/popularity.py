"""The globally most popular experts, as Fiddler places them (arXiv 2402.07033, section 3)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularityPlacement(RankedPlacement):
    """Keeps the most popular experts, all layers in one list, without a quota for a layer."""

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Rank experts by popularity."""
        return problem.popularity
