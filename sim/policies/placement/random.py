"""Experts at random."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from sim.policies.placement.fitting import RankedPlacement
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomPlacement(RankedPlacement):
    """Keeps experts drawn at random over all layers (KTransformers' random)."""

    placement_seed: int = 0

    def __post_init__(self) -> None:
        RankedPlacement.__post_init__(self)
        check_at_least(self, placement_seed=0)

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Return random numbers of the part's own seed [layer, expert]."""
        # A seed of its own: the placement is part of the policy, not of the tokens that it is tried on.
        return np.random.default_rng(self.placement_seed).random(problem.popularity.shape)
