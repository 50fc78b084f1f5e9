"""Finds the weights that experts are drawn with from how often they are selected, and what
requests' preferences add.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MAX_INCLUSION = 0.999
"""An expert that every token selects would need an infinite weight."""
NUM_REQUESTS = 24
"""Sampled requests over which preferences are averaged."""


def base_weights(inclusion: Array, spread: Array) -> Array:
    """Weights [class, layer, expert] for successive sampling such that experts are included as
    often as stated, over requests.

    Without spread they are -log(1 - inclusion): successive sampling keeps the first arrivals of
    exponential clocks, and stopping those at a fixed time instead changes inclusion little (Rosén
    1972). With it, they are corrected until the mean over sampled requests agrees. ``spread`` is
    [layer].
    """
    target = -np.log1p(-np.minimum(inclusion, MAX_INCLUSION))
    weights = target.copy()
    if not spread.any():
        return weights
    for _ in range(6):
        mean = request_inclusion(weights, spread, inclusion.sum(axis=2)).mean(axis=0)
        # Each weight is corrected by the ratio of its wanted rate to the one that came out.
        weights *= np.where(
            target > 0, target / np.maximum(-np.log1p(-np.minimum(mean, 1 - 1e-9)), 1e-12), 1.0
        )
    return weights


def request_inclusion(weights: Array, spread: Array, top_k: Array) -> Array:
    """Inclusion [request, class, layer, expert] for sampled requests; ``top_k`` [class, layer] is
    what rows sum to.
    """
    # The same sample every time: a correction by other noise each round would not settle.
    normal = np.random.default_rng(0).standard_normal((NUM_REQUESTS, 1, *weights.shape[1:]))
    rates = weights * np.exp(spread[:, None] * normal)
    # The time at which that many clocks have rung: the fixed time of Rosén's approximation.
    time = np.ones((*rates.shape[:3], 1))
    for _ in range(6):  # Newton's method on a convex function: from below it never overshoots
        left = np.exp(-rates * time)
        excess = (1.0 - left).sum(axis=3, keepdims=True) - top_k[..., None]
        time = np.maximum(
            time - excess / np.maximum((rates * left).sum(axis=3, keepdims=True), 1e-12), 0.1 * time
        )
    return np.asarray(1.0 - np.exp(-rates * time))


def floor(inclusion: Array, share: Array, spread: Array) -> Array:
    """Reuse of experts [layer] between far tokens of one request, whose classes are independent."""
    weights = base_weights(inclusion, spread)
    by_request = (
        request_inclusion(weights, spread, inclusion.sum(axis=2))
        if spread.any()
        else inclusion[None]
    )
    mixed = np.tensordot(by_request, share, axes=(1, 0))
    return np.asarray((mixed**2).sum(axis=2).mean(axis=0) / inclusion.sum(axis=2)[0])
