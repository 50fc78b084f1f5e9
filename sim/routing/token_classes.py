"""Token classes: groups of tokens that select similar experts, found in a trace by k-means."""

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel

MAX_ROUNDS = 30
NUM_RUNS = 6
"""The number of runs from different first centres; the run with the closest tokens counts."""


def token_classes(
    expert_ids: NDArray[np.int16], num_experts: int, num_classes: int, seed: int
) -> NDArray[np.int64]:
    """Return the class of each token [token], where class 0 is the largest.

    Tokens are compared by the experts that they select in all layers; ``expert_ids`` is [token,
    layer, rank]. The centres start as in k-means++. There are fewer classes than ``num_classes``
    where some end up empty.
    """
    tokens, layers, top_k = expert_ids.shape
    flat = (
        (expert_ids + np.arange(layers)[:, None] * num_experts)
        .reshape(tokens, layers * top_k)
        .astype(np.int64)
    )
    generator = np.random.default_rng(seed)
    runs = [
        _one_run(flat, layers * num_experts, min(num_classes, tokens), generator)
        for _ in range(NUM_RUNS)
    ]
    # k-means ends in a local optimum; of several starts the best is kept.
    labels = max(runs, key=lambda run: run[1])[0]
    used, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(used), np.int64)
    # Stable, so that classes of one size keep their order on every machine.
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(used))
    return rank[labels]


def _one_run(
    flat: NDArray[np.int64], size: int, count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], float]:
    """Return each token's label, and how close tokens are to their centres: larger is closer.

    ``flat`` [token, choice] are the tokens' experts, numbered across layers below ``size``.
    """
    centres = _first_centres(flat, size, count, generator)
    labels = np.full(len(flat), -1)
    for _ in range(MAX_ROUNDS):
        closeness = _scores(flat, centres) - 0.5 * (centres**2).sum(axis=1)
        closest = np.argmax(closeness, axis=1)
        if (closest == labels).all():
            break
        labels = closest
        centres = _means(flat, labels, centres)
    return labels, float(closeness.max(axis=1).sum())


def _first_centres(
    flat: NDArray[np.int64], size: int, count: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return up to ``count`` centres [class, expert across layers], each the experts of one token.

    A token is drawn with a probability in proportion to its squared distance from the nearest token
    drawn before.
    """
    centres = np.zeros((count, size))
    centres[0, flat[generator.integers(len(flat))]] = 1.0
    distance = np.full(len(flat), np.inf)
    for index in range(1, count):
        shared = _scores(flat, centres[index - 1 : index])[:, 0]
        # The squared distance of two tokens' indicator vectors: twice the experts that they do not
        # share.
        distance = np.minimum(distance, 2.0 * (flat.shape[1] - shared))
        if not distance.any():
            return centres[:index]
        centres[index, flat[generator.choice(len(flat), p=distance / distance.sum())]] = 1.0
    return centres


def _means(
    flat: NDArray[np.int64], labels: NDArray[np.int64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    means = centres.copy()
    for index in range(len(centres)):
        members = flat[labels == index]
        # A class that lost all members keeps its centre, and may win some back.
        if len(members):
            means[index] = np.bincount(members.ravel(), minlength=centres.shape[1]) / len(members)
    return means


@allocating_kernel
def _scores(flat, centres):  # type: ignore[no-untyped-def]
    """Return the sum of each centre's values at a token's experts [token, class]."""
    scores = np.zeros((len(flat), len(centres)))
    for token in range(len(flat)):
        for index in range(len(centres)):
            for position in flat[token]:
                scores[token, index] += centres[index, position]
    return scores
