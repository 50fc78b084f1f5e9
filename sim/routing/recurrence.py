"""How experts recur: in later tokens of a sequence, in later layers of a token, and over the tokens
of a batch.
"""

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel


def reuse(
    expert_ids: NDArray[np.int16],
    borders: NDArray[np.int64],
    num_experts: int,
    lags: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the share of a token's experts that the token ``lag`` before selected too.

    The result is [lag, layer]. Both tokens are of one sequence, whose ends are in ``borders``. NaN
    for lags that no sequence is long enough for.
    """
    shared, pairs = _shared(
        np.ascontiguousarray(expert_ids.transpose(1, 0, 2)), borders, num_experts, lags
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(shared / (pairs * expert_ids.shape[2])[:, None])


def pair_counts(borders: NDArray[np.int64], lags: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many tokens have a token that many lags before in their sequence, [lag]."""
    return np.asarray(np.maximum(np.diff(borders)[None] - lags[:, None], 0).sum(axis=1))


def next_layer_recall(
    expert_ids: NDArray[np.int16], borders: NDArray[np.int64], num_experts: int, distance: int
) -> float:
    """Return the share of the experts ``distance`` layers on that counts of pairs predict.

    Pairs (expert here, expert there) are counted in every second sequence, the first included. As
    many experts are predicted as a token selects: those of the largest sum of P(there | here). The
    other sequences test the prediction. A single sequence is tested on its second half, after
    counting in the first. NaN where no layer is that far on.
    """
    tokens, layers, _ = expert_ids.shape
    if distance >= layers:
        return float("nan")
    # Learned and tested on different sequences, or recall would be that of a memory.
    halves = np.diff(borders) if len(borders) > 2 else [tokens // 2, tokens - tokens // 2]
    is_learned = np.repeat(np.arange(len(halves)) % 2 == 0, halves)
    found = [
        _recalled(
            np.ascontiguousarray(expert_ids[:, layer]),
            np.ascontiguousarray(expert_ids[:, layer + distance]),
            is_learned,
            num_experts,
        )
        for layer in range(layers - distance)
    ]
    return float(np.mean(found))


def same_token_recall(
    expert_ids: NDArray[np.int16], token_ids: NDArray[np.int64], num_experts: int
) -> NDArray[np.float64]:
    """Return the share of experts that the last earlier token of the same id selected too [layer].

    Tokens whose id appears for the first time are left out.
    """
    _, identity = np.unique(token_ids, return_inverse=True)
    shared, count = _same_token(
        np.ascontiguousarray(expert_ids.transpose(1, 0, 2)), identity.astype(np.int64), num_experts
    )
    return np.asarray(shared / count if count else np.full(len(shared), np.nan))


def distinct_experts(
    expert_ids: NDArray[np.int16],
    borders: NDArray[np.int64],
    num_experts: int,
    batch: int,
    generator: np.random.Generator,
    num_batches: int = 256,
) -> float:
    """Distinct experts of a layer in a batch of tokens, the mean over layers and random batches.

    The tokens are of different sequences while there are enough, else sequences take turns.
    """
    sequences = len(borders) - 1
    rounds = -(-batch // sequences)
    total = 0.0
    offsets = np.arange(expert_ids.shape[1])[:, None] * num_experts
    for _ in range(num_batches):
        chosen = np.concatenate([generator.permutation(sequences) for _ in range(rounds)])[:batch]
        tokens = borders[chosen] + (generator.random(batch) * np.diff(borders)[chosen]).astype(
            np.int64
        )
        total += len(np.unique(expert_ids[tokens] + offsets)) / expert_ids.shape[1]
    return total / num_batches


@allocating_kernel
def _shared(ids, borders, num_experts, lags):  # type: ignore[no-untyped-def]
    """Experts that pairs of tokens share [lag, layer], and the number of pairs [lag]; ``ids`` is
    [layer, token, rank].
    """
    layers, tokens, top_k = ids.shape
    shared = np.zeros((len(lags), layers))
    pairs = np.zeros(len(lags))
    # A table of who selected whom: then a lag takes top_k look-ups a token, not top_k².
    member = np.zeros((tokens, num_experts), np.uint8)
    for layer in range(layers):
        member[:] = 0
        for token in range(tokens):
            for rank in range(top_k):
                member[token, ids[layer, token, rank]] = 1
        for index in range(len(lags)):
            count = 0
            for sequence in range(len(borders) - 1):
                for token in range(borders[sequence] + lags[index], borders[sequence + 1]):
                    for rank in range(top_k):
                        count += member[token - lags[index], ids[layer, token, rank]]
                pairs[index] += (
                    max(borders[sequence + 1] - borders[sequence] - lags[index], 0)
                    if layer == 0
                    else 0
                )
            shared[index, layer] = count
    return shared, pairs


@allocating_kernel
def _recalled(here, there, is_learned, num_experts):  # type: ignore[no-untyped-def]
    """Return the share of ``there`` [token, rank] that is predicted from ``here`` [token, rank].

    Pairs are counted over the tokens of ``is_learned`` [token]; the other tokens test them.
    """
    tokens, top_k = here.shape
    pairs = np.zeros((num_experts, num_experts))
    # Not 0: an expert that was never seen predicts nothing, and divides nothing.
    seen = np.full(num_experts, 1e-9)
    for token in range(tokens):
        if is_learned[token]:
            for a in range(top_k):
                seen[here[token, a]] += 1
                for b in range(top_k):
                    pairs[here[token, a], there[token, b]] += 1
    hits = tested = 0
    for token in range(tokens):
        if not is_learned[token]:
            score = np.zeros(num_experts)
            for a in range(top_k):
                score += pairs[here[token, a]] / seen[here[token, a]]
            for _ in range(top_k):
                best = np.argmax(score)
                score[best] = -1.0
                for b in range(top_k):
                    hits += there[token, b] == best
            tested += top_k
    return hits / max(tested, 1)


@allocating_kernel
def _same_token(ids, identity, num_experts):  # type: ignore[no-untyped-def]
    """Return the number of experts shared with the last token of the same identity [layer].

    The second value is the number of experts that were compared in each layer.
    """
    layers, tokens, top_k = ids.shape
    shared = np.zeros(layers)
    count = 0
    latest = np.full(identity.max() + 1, -1)
    for token in range(tokens):
        before = latest[identity[token]]
        latest[identity[token]] = token
        if before >= 0:
            count += top_k
            for layer in range(layers):
                for a in range(top_k):
                    for b in range(top_k):
                        shared[layer] += ids[layer, token, a] == ids[layer, before, b]
    return shared, count
