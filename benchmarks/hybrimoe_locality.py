"""Compare how Mixtral's choices of experts recur: as measured, and in our routing.

    python -m benchmarks.hybrimoe_locality

The measured statistics are those of arXiv 2505.16056.
"""

import numpy as np
from numpy.typing import NDArray

from sim.model.library import load_model
from sim.routing import load_routing
from validation.published.published_row import PublishedRow, published_rows

Ids = NDArray[np.int16]
SEQUENCES, TOKENS = 48, 512
"""Sequences drawn, and tokens of each. The measured ones were as long; there were 22,528 of them.
"""
LRU_SEQUENCES = 12
"""Sequences for the LRU, fewer because every access is looked up in a list.

Hit rates scatter by 0.2 points between sequences.
"""
CACHE_RATIO = 2
"""Cached experts for each expert that a token selects, in `segment_hit_rate`."""


def segment_f1(ids: Ids, num_experts: int, length: int) -> float:
    """Return the best F1 score of one set of experts for all tokens of a segment.

    Segments of ``length`` tokens come from ids [sequence, token, layer, rank]; the score is over
    all of them. A segment's set contains the experts that at least some number of its tokens
    select. That number is the same for all segments, and the best one.
    """
    counts = np.bincount(_counts(ids, num_experts, length).ravel(), minlength=length + 1).astype(
        np.float64
    )
    # For each threshold at once: what is selected at least so often.
    selected = (counts * np.arange(length + 1))[::-1].cumsum()[::-1]
    offered = counts[::-1].cumsum()[::-1] * length
    return float((2.0 * selected / (offered + selected[0])).max())


def segment_hit_rate(ids: Ids, num_experts: int, length: int) -> float:
    """Return the share of a segment's selections that its most selected experts serve.

    A segment keeps CACHE_RATIO · K · layers experts, whichever layers they belong to.
    """
    counts = _counts(ids, num_experts, length)
    kept = CACHE_RATIO * ids.shape[2] * ids.shape[3]
    most = -np.partition(-counts.reshape(-1, counts.shape[2] * num_experts), kept - 1, axis=1)[
        :, :kept
    ]
    return float(most.sum() / counts.sum())


def lru_hit_rate(ids: Ids, num_experts: int, num_slots: int) -> float:
    """Return the hit rate of one LRU over all layers, from an empty cache.

    The LRU is asked for one expert after another, a token's experts by falling weight.
    """
    flat = (ids + np.arange(ids.shape[2])[:, None] * num_experts).reshape(len(ids), -1)
    return float(
        np.mean([_lru_hits(sequence.tolist(), num_slots) / len(sequence) for sequence in flat])
    )


def measured(ids: Ids, num_experts: int, row: PublishedRow) -> float:
    """Return the value that a routing has for a row of ``locality.csv``, in percent."""
    size = int(row.quantity)
    if row.system == "segment F1":
        return 100.0 * segment_f1(ids, num_experts, size)
    if row.system == "segment hits":
        return 100.0 * segment_hit_rate(ids, num_experts, size)
    if row.system == "frequency spread":
        return 100.0 * float((_counts(ids, num_experts, 1).mean(axis=(0, 1))).std())
    return 100.0 * lru_hit_rate(ids[:LRU_SEQUENCES], num_experts, size)


def _counts(ids: Ids, num_experts: int, length: int) -> NDArray[np.int16]:
    """Return how often each segment selects each expert: [sequence, first token, layer, expert].

    ``length`` is the segment's tokens, a power of two.
    """
    counts = np.zeros((*ids.shape[:3], num_experts), np.int16)
    np.put_along_axis(counts, ids.astype(np.int64), 1, axis=3)
    reach = 1
    # Windows of twice the length are sums of two: a power of two takes few additions.
    while reach < length:
        counts = counts[:, :-reach] + counts[:, reach:]
        reach *= 2
    return counts


def _lru_hits(accesses: list[int], num_slots: int) -> int:
    held: list[int] = []
    hits = 0
    for expert in accesses:
        if expert in held:
            hits += 1
            held.remove(expert)
        elif len(held) == num_slots:
            held.pop(0)
        held.append(expert)
    return hits


if __name__ == "__main__":
    model = load_model("mixtral-8x7b")
    drawn = load_routing("mixtral-8x7b-gates", model).experts(model, SEQUENCES, TOKENS, 0)
    print("| statistic | of | measured | mixtral-8x7b-gates |\n|---|---|---|---|")
    for row in published_rows("validation.published.hybrimoe", "locality.csv"):
        print(
            f"| {row.system} | {row.quantity} | {row.value:.1f} % | {measured(drawn, model.num_experts, row):.1f} % |",
            flush=True,
        )
