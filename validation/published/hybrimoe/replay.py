"""Replay HybriMoE's cache without a simulator, in readings that no policy here has."""

from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from sim.routing import Draw

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReading:
    """A reading of what the cache keeps, and how it is asked.

    Experts are kept by S, or with ``alpha`` None by recency. A token's experts are looked up all at
    once. With ``is_one_by_one``, the most weighted comes first, and each is looked up after the one
    before has been fetched. Each missing expert takes the place of the least, even if that is of
    the same token, as in the released ``get_expert_to_unload``. ``is_pooled``: all layers share one
    budget. ``holds_highest``: at every gate the experts of highest S are there, selected or not, as
    if the released ``prefetch_expert`` had fetched them.
    """

    alpha: float | None
    is_one_by_one: bool = False
    is_pooled: bool = False
    holds_highest: bool = False


def hit_rate_percent(
    draw: Draw, reading: CacheReading, num_slots: int, *, first_token: int
) -> float:
    """Return the share of the selections from ``first_token`` on that are resident, in percent.

    Each sequence starts with the lowest-numbered experts of every layer.
    """
    return 100.0 * mean(
        _hits(draw, sequence, reading, num_slots, first_token) for sequence in range(len(draw.ids))
    )


def smoothed(score: Scores, gate: NDArray[np.float32], alpha: float, kept: int) -> None:
    """Update S = alpha · TopP(s) + (1 - alpha) · S in place [expert].

    TopP keeps the ``kept`` largest shares.
    """
    least = np.partition(gate, -kept)[-kept]
    score *= 1.0 - alpha
    score += alpha * np.where(gate >= least, gate, 0.0)


def _hits(
    draw: Draw, sequence: int, reading: CacheReading, num_slots: int, first_token: int
) -> float:
    assert draw.full is not None or reading.alpha is None, "S needs the gates of all experts"
    ids = draw.ids[sequence].astype(np.int64)
    num_layers = ids.shape[1]
    num_experts = draw.full.shape[-1] if draw.full is not None else int(draw.ids.max()) + 1
    worth = np.zeros((num_layers, num_experts))
    hits = 0
    asked = 0
    clock = 0
    held = np.broadcast_to(np.arange(num_experts) < num_slots, worth.shape).copy()
    for token in range(len(ids)):
        for layer in range(num_layers):
            chosen = ids[token, layer]
            # As if prefetching were free, which is the most that the released code can give.
            if reading.holds_highest:
                held[layer] = False
                held[layer, np.argsort(-worth[layer], kind="stable")[:num_slots]] = True
            if reading.alpha is not None:
                assert draw.full is not None
                smoothed(
                    worth[layer], draw.full[sequence, token, layer], reading.alpha, 2 * len(chosen)
                )
            for group in chosen[:, None] if reading.is_one_by_one else chosen[None]:
                found = held[layer, group]
                hits = hits + int(found.sum()) * (token >= first_token)
                asked = asked + len(group) * (token >= first_token)
                if reading.alpha is None:
                    clock += 1
                    # What was fetched counts as used later than what was there.
                    worth[layer, group] = clock + 0.5 * ~found
                for expert in group[~found]:
                    pool = slice(None) if reading.is_pooled else slice(layer, layer + 1)
                    leaves = np.unravel_index(
                        np.argmin(np.where(held[pool], worth[pool], np.inf)), held[pool].shape
                    )
                    # A slice is a view, so this changes what is held.
                    held[pool][leaves] = False
                    held[layer, expert] = True
    return hits / asked
