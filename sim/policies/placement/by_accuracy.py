"""More slots for layers whose experts are hard to predict, as AdapMoE splits its cache (arXiv
2408.10284).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement, expert_sizes
from sim.policies.prefetch.next_gate import mixtral_accuracy
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ByAccuracyPlacement(RankedPlacement):
    """The slots that minimise the expected experts neither held nor predicted: the sum of (1 -
    accuracy) · popularity of those not held.

    Accuracy is AdapMoE's of Mixtral's next gate, by depth; the first layer has no gate before it.
    AdapMoE solves this by dynamic programming; as each further slot of a layer gains less, taking
    the largest gain per byte again and again gives the same.
    """

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Expected experts neither held nor predicted that each saves, per byte."""
        accuracy = mixtral_accuracy(problem.model.num_layers)
        # No gate precedes the first layer, so that nothing of it is predicted.
        accuracy[problem.model.moe_layers[0]] = 0.0
        gain = (1.0 - accuracy)[:, None] * problem.popularity
        return np.asarray(gain / np.maximum(expert_sizes(problem), 1)[:, None])
