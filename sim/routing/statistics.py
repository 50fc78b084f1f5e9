"""The statistics of a routing, which tell tasks, models and generators apart."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.routing.recorded import RecordedRouting
from sim.routing.recurrence import distinct_experts, next_layer_recall, reuse, same_token_recall
from sim.routing.replay import CachePolicy, hit_rates

REUSE_LAGS = (1, 2, 4, 16, 128)
RECALL_DISTANCES = (1, 3, 6)
BATCH_TOKENS = (2, 4, 8, 16, 32)
ENTROPY_TOKENS = (16, 64, 128, 256)
CACHE_FRACTIONS = (0.125, 0.25, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHits:
    """Hit rates [layer] of one cache size under each policy.

    ``num_slots`` is the number of experts that a layer holds.
    """

    resident_fraction: float
    num_slots: int
    lru_fraction: tuple[float, ...]
    lfu_fraction: tuple[float, ...]
    belady_fraction: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingStatistics:
    """Statistics of expert ids, each defined in docs/reference/routing.md.

    Those named ``by_layer`` have a value for each layer; the others are means over layers. Keys of
    dictionaries are lags in tokens, distances in layers, or numbers of tokens. NaN means that the
    trace is too short; an empty tuple means that it does not hold the data.
    """

    num_tokens: int
    num_sequences: int
    popularity_entropy_by_layer: tuple[float, ...]
    busiest_ratio_by_layer: tuple[float, ...]
    independent_reuse_by_layer: tuple[float, ...]
    reuse_by_layer: dict[int, tuple[float, ...]]
    next_layer_recall: dict[int, float]
    same_token_recall_by_layer: tuple[float, ...]
    distinct_experts: dict[int, float]
    request_entropy: dict[int, float]
    cache_hits: tuple[CacheHits, ...]
    gate_weight_by_rank: tuple[float, ...]


def statistics(trace: RecordedRouting, seed: int = 0) -> RoutingStatistics:
    """Return all statistics of a recording; ``seed`` draws the batches for distinct experts."""
    ids = trace.expert_ids
    borders = trace.borders
    experts = trace.num_experts
    share = inclusion(ids, experts) / ids.shape[2]
    by_lag = reuse(ids, borders, experts, np.array(REUSE_LAGS))
    generator = np.random.default_rng(seed)
    same = (
        same_token_recall(ids, trace.token_ids, experts)
        if trace.token_ids is not None
        else np.empty(0)
    )
    return RoutingStatistics(
        num_tokens=len(ids),
        num_sequences=len(borders) - 1,
        popularity_entropy_by_layer=_values(entropy(share)),
        busiest_ratio_by_layer=_values(share.max(axis=1) * experts),
        independent_reuse_by_layer=_values((share**2).sum(axis=1) * ids.shape[2]),
        reuse_by_layer={lag: _values(row) for lag, row in zip(REUSE_LAGS, by_lag, strict=True)},
        next_layer_recall={
            distance: next_layer_recall(ids, borders, experts, distance)
            for distance in RECALL_DISTANCES
        },
        same_token_recall_by_layer=_values(same),
        distinct_experts={
            batch: distinct_experts(ids, borders, experts, batch, generator)
            for batch in BATCH_TOKENS
        },
        request_entropy={tokens: _request_entropy(trace, tokens) for tokens in ENTROPY_TOKENS},
        cache_hits=tuple(cache_hits(trace, fraction) for fraction in CACHE_FRACTIONS),
        gate_weight_by_rank=_values(trace.weights.mean(axis=(0, 1)))
        if trace.weights is not None
        else (),
    )


def inclusion(expert_ids: NDArray[np.int16], num_experts: int) -> NDArray[np.float64]:
    """Share of tokens that select each expert [layer, expert]; rows sum to the experts per token."""
    tokens, layers, _ = expert_ids.shape
    flat = (expert_ids + np.arange(layers)[:, None] * num_experts).ravel()
    counts = np.bincount(flat, minlength=layers * num_experts)
    return np.asarray(counts.reshape(layers, num_experts) / tokens)


def entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each row of shares, divided by that of the uniform distribution."""
    # 0 · log 0 counts as 0, its limit.
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.asarray(-(shares * logs).sum(axis=-1) / np.log(shares.shape[-1]))


def cache_hits(trace: RecordedRouting, resident_fraction: float) -> CacheHits:
    """Return the hit rates with that fraction of each layer's experts resident.

    The number of slots is rounded, and at least one. sim.routing.replay defines the rates.
    """
    slots = max(1, round(trace.num_experts * resident_fraction))
    rates = {
        policy: _values(hit_rates(trace.expert_ids, trace.num_experts, slots, policy))
        for policy in CachePolicy
    }
    return CacheHits(
        resident_fraction=resident_fraction,
        num_slots=slots,
        lru_fraction=rates[CachePolicy.LRU],
        lfu_fraction=rates[CachePolicy.LFU],
        belady_fraction=rates[CachePolicy.BELADY],
    )


def _request_entropy(trace: RecordedRouting, num_tokens: int) -> float:
    """Return the entropy of the selections of a sequence's first ``num_tokens`` tokens.

    It is the mean over layers and over the sequences that are at least as long.
    """
    starts = [
        int(start)
        for start, length in zip(trace.borders, np.diff(trace.borders), strict=False)
        if length >= num_tokens
    ]
    rows = [
        entropy(
            inclusion(trace.expert_ids[start : start + num_tokens], trace.num_experts)
            / trace.expert_ids.shape[2]
        )
        for start in starts
    ]
    return float(np.mean(rows)) if rows else float("nan")


def _values(array: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in array)
