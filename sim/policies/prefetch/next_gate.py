"""The experts that a coming layer is predicted to select, with a stated accuracy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import CANDIDATE, Foresight, Predictions, Prefetch


@dataclass(frozen=True, slots=True, kw_only=True)
class NextGatePrefetch(Prefetch):
    """At every gate, the experts of the next ``distance`` layers, as a gate applied to an earlier hidden state would name them.

    Of a layer's selected experts, each is named with probability ``accuracy`` to the power of the distance; for each one missed, another
    is named, in proportion to popularity. Heaviest first, nearer layers first. 0.87 is the mean that AdapMoE (2408.10284) reports for
    Mixtral at distance 1; per-layer figures belong in a routing spec.
    """

    accuracy: float = 0.87
    distance: int = 1
    num_chunks: int = 1
    drops_stale: bool = True

    def predict(self, foresight: Foresight) -> Predictions:
        """See Prefetch."""
        tokens = foresight.tokens
        generator = np.random.default_rng(foresight.seed + 1)
        named = [_named(tokens, foresight.problem.popularity, self.accuracy**step, step, generator) for step in range(1, self.distance + 1)]
        return gathered(named, tokens.shape)


def _named(
    tokens: NDArray[np.int32], popularity: NDArray[np.float64], accuracy: float, step: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Rows (gate, priority, layer, expert) of what the gates ``step`` layers before name."""
    num_layers = tokens.shape[1]
    is_selected = tokens[:, step:] > 0
    is_right = is_selected & (generator.random(is_selected.shape) < accuracy)
    num_wrong = (is_selected & ~is_right).sum(axis=2)
    weight = generator.random(is_selected.shape) ** (1.0 / np.maximum(popularity[step:], 1e-12))
    rank = np.argsort(np.argsort(-np.where(is_selected, -1.0, weight), axis=2, kind="stable"), axis=2, kind="stable")
    is_wrong = ~is_selected & (rank < num_wrong[:, :, None]) & (popularity[step:] > 0)
    index, layer, expert = np.nonzero(is_right | is_wrong)
    load = np.where(is_right, tokens[:, step:], 1)[index, layer, expert]
    priority = step * (tokens.max() + 1) - load
    return np.stack([index * num_layers + layer, priority, layer + step, expert], axis=1)


def gathered(named: list[NDArray[np.int64]], shape: tuple[int, ...]) -> Predictions:
    """Predictions from rows (gate, priority, layer, expert), in order of gate and priority."""
    rows = np.concatenate(named)
    rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0]))]
    candidates = np.empty(len(rows), CANDIDATE)
    candidates["priority"], candidates["layer"], candidates["expert"] = rows[:, 1], rows[:, 2], rows[:, 3]
    first = np.searchsorted(rows[:, 0], np.arange(shape[0] * shape[1] + 1))
    return Predictions(first=first.astype(np.int64), candidates=candidates)
