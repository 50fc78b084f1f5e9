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
    """Splits slots over layers so that the fewest experts are expected to be neither held nor
    predicted.

    The sum of (1 - accuracy) · popularity of the experts not held is least. Accuracy is AdapMoE's
    of Mixtral's next gate, by depth. No gate precedes the first MoE layer, so its accuracy is 0.
    AdapMoE solves this by dynamic programming. Here the largest gain per byte is taken again and
    again. The result is the same, as each further slot of a layer gains less.
    """

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Return what each expert saves [layer, expert]: expected experts neither held nor
        predicted, per byte.
        """
        accuracy = mixtral_accuracy(problem.model.num_layers)
        # No gate precedes the first layer, so that nothing of it is predicted.
        accuracy[problem.model.moe_layers[0]] = 0.0
        gain = (1.0 - accuracy)[:, None] * problem.popularity
        return np.asarray(gain / np.maximum(expert_sizes(problem), 1)[:, None])
