"""How Mixtral's choices recur beyond the next token, as measured (arXiv 2505.16056), and in our
routing: ``python -m benchmarks.hybrimoe_locality``.
"""

import numpy as np
from numpy.typing import NDArray

from sim.model.library import load_model
from sim.routing import load_routing
from validation.published.published_row import PublishedRow, published_rows

Ids = NDArray[np.int16]
SEQUENCES, TOKENS = 48, 512
"""Sequences are as long as those measured; of those there were 22,528."""
LRU_SEQUENCES = 12
"""Fewer, as every access is looked up in a list; hit rates scatter by 0.2 points between sequences.
"""
CACHE_RATIO = 2
"""Cached experts for each that a token selects, in `segment_hit_rate`."""


def segment_f1(ids: Ids, num_experts: int, length: int) -> float:
    """The best F1 score of one set of experts for all of a segment's tokens, over every segment
    [sequence, token, layer, rank] of a length.

    The set has as many experts as it likes: those selected by at least so many of the tokens, that
    number the same everywhere and the best.
    """
    counts = np.bincount(_counts(ids, num_experts, length).ravel(), minlength=length + 1).astype(
        np.float64
    )
    # For each threshold at once: what is selected at least so often.
    selected = (counts * np.arange(length + 1))[::-1].cumsum()[::-1]
    offered = counts[::-1].cumsum()[::-1] * length
    return float((2.0 * selected / (offered + selected[0])).max())


def segment_hit_rate(ids: Ids, num_experts: int, length: int) -> float:
    """Share of a segment's selections that the CACHE_RATIO · K · layers experts serve that it
    selects most, wherever their layers.
    """
    counts = _counts(ids, num_experts, length)
    kept = CACHE_RATIO * ids.shape[2] * ids.shape[3]
    most = -np.partition(-counts.reshape(-1, counts.shape[2] * num_experts), kept - 1, axis=1)[
        :, :kept
    ]
    return float(most.sum() / counts.sum())


def lru_hit_rate(ids: Ids, num_experts: int, num_slots: int) -> float:
    """Hit rate, from an empty cache, of one LRU over all layers that is asked for one expert after
    another, the most weighted first.
    """
    flat = (ids + np.arange(ids.shape[2])[:, None] * num_experts).reshape(len(ids), -1)
    return float(
        np.mean([_lru_hits(sequence.tolist(), num_slots) / len(sequence) for sequence in flat])
    )


def measured(ids: Ids, num_experts: int, row: PublishedRow) -> float:
    """What a routing has, in percent, of a row of ``locality.csv``."""
    size = int(row.quantity)
    if row.system == "segment F1":
        return 100.0 * segment_f1(ids, num_experts, size)
    if row.system == "segment hits":
        return 100.0 * segment_hit_rate(ids, num_experts, size)
    if row.system == "frequency spread":
        return 100.0 * float((_counts(ids, num_experts, 1).mean(axis=(0, 1))).std())
    return 100.0 * lru_hit_rate(ids[:LRU_SEQUENCES], num_experts, size)


def _counts(ids: Ids, num_experts: int, length: int) -> NDArray[np.int16]:
    """How often each segment selects each expert [sequence, first token, layer, expert]; the length
    is a power of two.
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
