"""As many experts in every layer, the most popular of each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement, expert_sizes, top_per_layer
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformPlacement(RankedPlacement):
    """Keeps the largest equal number of experts per MoE layer that fits: within a layer the most
    popular, ties to the lower expert.

    With several GPUs, each holds only a few experts of a layer. There, what an equal number leaves
    over goes to layers spread evenly in depth.
    """

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Rank experts by popularity."""
        return problem.popularity

    def fill(self, problem: Problem, score: NDArray[np.float64], left: int) -> NDArray[np.bool_]:
        """Fill every layer alike; on several GPUs also what an equal number leaves over."""
        layers = np.array(problem.model.moe_layers)
        layers = layers[np.isfinite(score[layers]).any(axis=1)]  # others lie on another card
        if not len(layers):
            return np.zeros(score.shape, bool)
        sizes = expert_sizes(problem)[layers]
        count = left // int(sizes.sum())
        chosen = top_per_layer(problem, score, min(count, problem.model.num_experts))
        if problem.num_gpus > 1:
            held = int((chosen.sum(axis=1) * expert_sizes(problem)).sum())
            _add_evenly(
                chosen, np.where(chosen, -np.inf, score), layers, (left - held) // int(sizes.max())
            )
        return chosen


def _add_evenly(
    chosen: NDArray[np.bool_], score: NDArray[np.float64], layers: NDArray[np.int64], num_more: int
) -> None:
    """Add to ``chosen`` the best expert left of layers spread evenly in depth, again and again,
    until ``num_more`` are added or none is left.

    A ``score`` [layer, expert] of minus infinity is no expert that can be added. Both arrays
    change.
    """
    # Evenly in depth, so that no part of the model has all the misses.
    while num_more > 0:
        open_layers = layers[np.isfinite(score[layers]).any(axis=1)]
        taken = min(num_more, len(open_layers))
        if not taken:
            return
        for layer in open_layers[
            np.diff(np.arange(len(open_layers) + 1) * taken // len(open_layers)) > 0
        ]:
            best = int(np.argmax(score[layer]))
            chosen[layer, best] = True
            score[layer, best] = -np.inf
        num_more -= taken
