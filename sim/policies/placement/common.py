"""One budget of slots over all layers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement, expert_sizes
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSlotsPlacement(RankedPlacement):
    """Makes one budget of slots over all layers, as many as fit. The most popular experts start in
    them.

    Each slot is as large as the largest expert, so that any expert may take any slot.
    """

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Rank experts by popularity."""
        return problem.popularity

    def fill(self, problem: Problem, score: NDArray[np.float64], left: int) -> NDArray[np.bool_]:
        """Fill as many slots of the largest expert's size as ``left`` bytes have room for."""
        chosen = np.zeros(score.shape, bool)
        counts = np.array([layer.num_experts for layer in problem.model.layers])
        # Layers may have fewer experts than the widest: the rest of their row is no expert.
        exists = (np.arange(score.shape[1]) < counts[:, None]) & np.isfinite(score)
        order = np.argsort(np.where(exists, -score, np.inf), axis=None, kind="stable")
        num_slots = min(left // int(expert_sizes(problem).max()), int(exists.sum()))
        chosen.ravel()[order[:num_slots]] = True
        return chosen
