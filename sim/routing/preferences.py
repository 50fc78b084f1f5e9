"""Finds the weights with which experts are drawn, so that each is selected as often as stated.

It also finds what the preferences of requests add to the reuse of experts.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MAX_INCLUSION = 0.999
"""The largest inclusion; an expert that every token selects would need an infinite weight."""
NUM_REQUESTS = 24
"""The number of sampled requests over which preferences are averaged."""


def base_weights(inclusion: Array, spread: Array) -> Array:
    """Return the weights [class, layer, expert] of successive sampling that give ``inclusion``.

    ``spread`` [layer] is that of requests' log preferences. Without spread, a weight is -log(1 -
    inclusion). Successive sampling keeps the first arrivals of exponential clocks; stopping them at
    a fixed time instead changes inclusion little (Rosén 1972). With spread, weights are corrected
    until the mean inclusion over sampled requests agrees.
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
    """Return the inclusion [request, class, layer, expert] of sampled requests.

    Rows over experts sum to ``top_k`` [class, layer].
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
    """Return the reuse of experts [layer] between far tokens of one request.

    The classes of far tokens are independent of each other.
    """
    weights = base_weights(inclusion, spread)
    by_request = (
        request_inclusion(weights, spread, inclusion.sum(axis=2))
        if spread.any()
        else inclusion[None]
    )
    mixed = np.tensordot(by_request, share, axes=(1, 0))
    return np.asarray((mixed**2).sum(axis=2).mean(axis=0) / inclusion.sum(axis=2)[0])
