"""The sequence of token classes, fitted to how often classes of a trace agree.

It is a Markov chain, mixed with copies of the classes of earlier tokens.
"""

import numpy as np
from numpy.typing import NDArray

from sim.routing.compiled import draw_classes, sequence_key
from sim.routing.recurrence import reuse

Array = NDArray[np.float64]
NUM_ROUNDS = 20
STEP = 0.3
NUM_LIKELIHOOD_ROUNDS = 8
NUM_REPEATS = 3
"""How often each sequence of the trace is generated in a round; more repeats mean less noise."""
MAX_KEPT = 0.9
"""The largest probability that a class is copied.

If every class were copied, a class that a sequence has lost could never return.
"""


def class_process(
    classes: NDArray[np.int64],
    share: Array,
    borders: NDArray[np.int64],
    lags: NDArray[np.int64],
    seed: int,
) -> tuple[Array, Array]:
    """Return the copy probabilities [lag] and the chain [class before, class] of a trace's classes.

    A token copies the class of the token ``lags`` before; else its class follows the last token's
    class by the chain. A lag's copy probability rises while generated classes agree less often at
    that lag than the trace's. It falls while they agree more often. The chain is that of greatest
    likelihood given the copies. ``classes`` is [token], ``share`` [class], ``borders`` as in
    ``RecordedRouting.borders``.
    """
    # What is matched is how often classes agree, since that is what makes experts recur.
    wanted = _agreement(classes, borders, lags)
    lengths = np.tile(np.diff(borders), NUM_REPEATS)
    longer = np.concatenate([[0], np.cumsum(lengths)])
    kept = np.zeros(len(lags))
    chain = _chain(classes, borders, lags, kept, np.tile(share, (len(share), 1)), share)
    for attempt in range(NUM_ROUNDS if len(share) > 1 else 0):
        shown = _agreement(
            _generate(share, lags, kept, chain, lengths, seed + attempt), longer, lags
        )
        # A part of the difference at a time: copies at one lag raise agreement at its multiples
        # too.
        kept = np.maximum(kept + STEP * (wanted - shown), 0.0)
        # Scaled down together, so that lags keep their proportions.
        kept *= min(1.0, MAX_KEPT / max(float(kept.sum()), MAX_KEPT))
        chain = _chain(classes, borders, lags, kept, chain, share)
    return kept, chain


def _agreement(
    classes: NDArray[np.int64], borders: NDArray[np.int64], lags: NDArray[np.int64]
) -> Array:
    """Return the share of tokens [lag] whose class is that of the token ``lags`` before.

    It is 0 for a lag that no sequence is long enough for.
    """
    curve = reuse(classes[:, None, None].astype(np.int16), borders, int(classes.max()) + 1, lags)
    return np.nan_to_num(curve[:, 0])


def _generate(
    share: Array,
    lags: NDArray[np.int64],
    kept: Array,
    chain: Array,
    lengths: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    cumulative = np.cumsum(share), lags, np.cumsum(kept), np.cumsum(chain, axis=1)
    keys = [np.uint64(sequence_key(seed, sequence)) for sequence in range(len(lengths))]
    return np.concatenate(
        [
            draw_classes(*cumulative, key, int(length))
            for key, length in zip(keys, lengths, strict=True)
        ]
    )


def _chain(
    classes: NDArray[np.int64],
    borders: NDArray[np.int64],
    lags: NDArray[np.int64],
    kept: Array,
    chain: Array,
    share: Array,
) -> Array:
    """Return the chain [class before, class] of greatest likelihood, given the copies.

    ``kept`` [lag] is the probability of a copy. Expectation and maximisation start from ``chain``.
    Every round keeps the classes' frequencies ``share``.
    """
    position = np.arange(len(classes)) - np.repeat(borders[:-1], np.diff(borders))
    rows = np.flatnonzero(position > 0)
    before = classes[rows - 1]
    now = classes[rows]
    is_same = (position[rows][:, None] >= lags) & (
        classes[np.maximum(rows[:, None] - lags, 0)] == now[:, None]
    )
    copied = is_same @ kept
    for _ in range(NUM_LIKELIHOOD_ROUNDS):
        followed = (1.0 - kept.sum()) * chain[before, now]
        # A little everywhere: a step that the trace never took is rare, not impossible.
        counts = np.full(chain.shape, 1e-3)
        np.add.at(counts, (before, now), followed / (followed + copied))
        chain = _balanced(counts, share)
    return chain


def _balanced(counts: Array, share: Array) -> Array:
    """Return the chain nearest to ``counts`` that keeps the classes' frequencies ``share``.

    Both are [class before, class]. Rows and columns are scaled in turn (Sinkhorn).
    """
    joint = counts
    # More than enough for a few classes to settle; no step costs more than a few dozen numbers.
    for _ in range(50):
        joint = joint * (share / joint.sum(axis=0))
        joint = joint * (share / joint.sum(axis=1))[:, None]
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))
