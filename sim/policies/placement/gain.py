"""Experts ranked by what keeping them saves: expected layer time, per byte."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.placement.fitting import RankedPlacement, expert_sizes
from sim.policies.placement.layer_times import Misses, by_popularity, layer_times_ns
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class GainPlacement(RankedPlacement):
    """Chooses the number of residents of each layer so that the sum of expected layer times is
    least within memory.

    Within a layer the most popular experts are kept. Over layers, the steepest segments of each
    layer's lower convex hull of time against bytes go first. That is optimal for the hulls, up to
    the last, partly filled segment. ``misses`` says what is foreseen to happen to the other
    experts.
    """

    misses: Misses = "cheapest"

    @property
    def weighs_buffers(self) -> bool:
        """Whether misses are split or spilled: such layers are timed copy by copy, through the
        buffers.
        """
        return self.misses in ("split", "spill")

    def ranking(self, problem: Problem) -> NDArray[np.float64]:
        """Return the ns per byte that each expert saves [layer, expert], along the hull of its
        layer.
        """
        times = layer_times_ns(problem, self.misses)
        order = by_popularity(problem)
        saved = np.zeros(order.shape)
        # Layers of one shape and popularity have the same times.
        slopes: dict[bytes, NDArray[np.float64]] = {}
        for layer in problem.model.moe_layers:
            count = problem.model.layers[layer].num_experts
            own = times[layer, : count + 1]
            if own.tobytes() not in slopes:
                slopes[own.tobytes()] = hull_slopes(own)
            saved[layer, order[layer, :count]] = slopes[own.tobytes()]
        # Per byte: memory is what is short, and layers may differ in the size of an expert.
        return saved / np.maximum(expert_sizes(problem), 1)[:, None]


def hull_slopes(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the decrease per step along the lower convex hull of ``times`` over 0, 1, …: one value
    a step, never increasing.

    Values are exactly equal along a segment, and equal to those of another layer with the same
    times. So a ranking whose ties go by layer fills one segment after another.
    """
    corners: list[int] = []
    for step in range(len(times)):
        while len(corners) > 1 and _is_above(times, corners[-2], corners[-1], step):
            corners.pop()
        corners.append(step)
    steps = np.diff(corners)
    return np.repeat(-np.diff(times[corners]) / steps, steps)


def _is_above(times: NDArray[np.float64], left: int, middle: int, right: int) -> bool:
    """Whether the middle point lies on or above the line from left to right."""
    return bool(
        (times[middle] - times[left]) * (right - left)
        >= (times[right] - times[left]) * (middle - left)
    )
