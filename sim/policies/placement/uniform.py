"""As many experts in every layer, the most popular of each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement, expert_sizes, top_per_layer
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformPlacement(RankedPlacement):
    """The largest equal number of experts per MoE layer that fits; within a layer by popularity, ties to the lower expert.

    Of several GPUs each holds few experts of a layer: there, what an equal number leaves over goes to layers spread evenly in depth.
    """

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """See RankedPlacement."""
        return problem.popularity

    def fill(self, problem: Problem, score: NDArray[np.float64], left: int) -> NDArray[np.bool_]:
        """See RankedPlacement."""
        layers = np.array(problem.model.moe_layers)
        sizes = expert_sizes(problem)[layers]
        count = left // int(sizes.sum())
        chosen = top_per_layer(problem, score, min(count, problem.model.num_experts))
        num_more = (left - count * int(sizes.sum())) // int(sizes.max()) if problem.num_gpus > 1 else 0
        for layer in layers[np.diff(np.arange(len(layers) + 1) * num_more // len(layers)) > 0]:
            following = np.argsort(-score[layer], kind="stable")[count : count + 1]
            chosen[layer, following] = np.isfinite(score[layer, following])
        return chosen
