"""Predictors of stated accuracy, and candidates in the order of their gates: what several prefetch parts share."""

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import CANDIDATE, Foresight, Predictions

PRIORITY_SCALE = 1_000_000
"""Priorities are whole numbers: fractions are kept to a millionth."""


def named(
    foresight: Foresight, accuracy: NDArray[np.float64], step: int, generator: np.random.Generator, *, by_token: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a predictor names ``step`` layers before each gate: rows (pass, layer, expert), and the tokens it expects for each.

    ``accuracy`` [layer] is the probability that a selected expert is named; for each one missed, another is named in its
    place, drawn in proportion to popularity and expected to get one token. The first ``step`` layers have no gate so early.
    ``by_token``: so it is for every token of a pass of several, and what any of them names is named.
    """
    tokens, popularity = foresight.tokens[:, step:], foresight.problem.popularity[step:]
    is_selected = tokens > 0
    is_right = is_selected & (generator.random(is_selected.shape) < accuracy[step:, None])
    num_wrong = (is_selected & ~is_right).sum(axis=2)
    weight = generator.random(is_selected.shape) ** (1.0 / np.maximum(popularity, 1e-12))
    rank = np.argsort(np.argsort(-np.where(is_selected, -1.0, weight), axis=2, kind="stable"), axis=2, kind="stable")
    is_wrong = ~is_selected & (rank < num_wrong[:, :, None]) & (popularity > 0)
    expected = np.where(is_right, tokens, is_wrong)
    if by_token:
        several = foresight.passes.num_tokens > 1
        expected[several] = _by_token(tokens[several], accuracy[step:], popularity, generator)
    index, layer, expert = np.nonzero(expected)
    load = expected[index, layer, expert]
    return np.stack([index, layer + step, expert], axis=1), load.astype(np.int64)


def _by_token(
    tokens: NDArray[np.int32], accuracy: NDArray[np.float64], popularity: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """How many tokens name each expert [pass, layer, expert]: of those that select it, and of those that mistake it for another."""
    right = generator.binomial(tokens, accuracy[:, None])
    num_wrong = (tokens - right).sum(axis=2)
    shares = popularity / np.maximum(popularity.sum(axis=1, keepdims=True), 1e-12)
    for index, layer in zip(*np.nonzero(num_wrong), strict=True):
        right[index, layer] += generator.multinomial(num_wrong[index, layer], shares[layer])
    return np.asarray(right, np.int64)


def gathered(rows: list[NDArray[np.int64]], shape: tuple[int, ...], *, most: int | None = None) -> Predictions:
    """Predictions from rows (gate, priority, layer, expert) in order of gate and priority; of each gate ``most`` at most.

    Behind the gates of all passes stand the starts of passes.
    """
    all_rows = np.concatenate([np.zeros((0, 4), np.int64), *rows])
    all_rows = all_rows[np.lexsort((all_rows[:, 3], all_rows[:, 2], all_rows[:, 1], all_rows[:, 0]))]
    gates = np.arange(shape[0] * shape[1] + shape[0] + 1)
    if most is not None:
        place = np.arange(len(all_rows)) - np.searchsorted(all_rows[:, 0], all_rows[:, 0])
        all_rows = all_rows[place < most]
    candidates = np.empty(len(all_rows), CANDIDATE)
    candidates["priority"], candidates["layer"], candidates["expert"] = all_rows[:, 1], all_rows[:, 2], all_rows[:, 3]
    return Predictions(first=np.searchsorted(all_rows[:, 0], gates).astype(np.int64), candidates=candidates)


def asking_layer(foresight: Foresight, layers: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """The last MoE layer at least ``step`` before each of those layers: only MoE layers have gates. -1 where there is none."""
    is_moe = np.isin(np.arange(foresight.tokens.shape[1]), foresight.problem.model.moe_layers)
    latest = np.maximum.accumulate(np.where(is_moe, np.arange(len(is_moe)), -1))
    return np.where(layers >= step, latest[layers - step], -1)


def by_load(foresight: Foresight, ahead: NDArray[np.int64] | int, load: NDArray[np.int64], expert: NDArray[np.int64]) -> NDArray[np.int64]:
    """Priorities: fewer layers ahead first, then more tokens, then the lower expert; none alike, or chunked copies alternate."""
    heaviest = int(foresight.tokens.max(initial=0))
    return np.asarray((ahead * (heaviest + 1) - load) * foresight.tokens.shape[2] + expert)
