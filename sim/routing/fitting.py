"""Fitting the generator to a trace.

The fit covers popularity by token class, how classes and experts recur, and what requests prefer.
No cache is replayed: the hit rates of a generator are predictions.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Kind, Provenance
from sim.routing.class_process import class_process
from sim.routing.compiled import fill_gate_weights, sequence_key
from sim.routing.fitted import FittedRouting
from sim.routing.fitted_numbers import FittedNumbers, GateProfile
from sim.routing.preferences import floor
from sim.routing.recorded import RecordedRouting
from sim.routing.recurrence import next_layer_recall, pair_counts, reuse
from sim.routing.statistics import inclusion
from sim.routing.token_classes import token_classes

Array = NDArray[np.float64]
NUM_CLASSES = 8
CLASS_LAGS = np.arange(1, 49)
COPY_LAGS = np.arange(1, 3)
DRIFT_LAGS = np.arange(9, 65)
DRIFT_TOKENS = 64.0
NUM_ROUNDS = 8
"""Rounds in which copies are corrected by what a generated trace shows."""
MAX_COPIED = 0.9
"""The largest probability that a choice is copied.

If every choice were copied, an expert that a sequence has lost could never return.
"""
SPREADS = np.linspace(0.0, 1.5, 7)
"""Spreads of requests' log preferences that are tried; results in between are interpolated."""
MIN_TOKENS = 256
NUM_GATE_ROUNDS = 8
NUM_GATE_TOKENS = 1000


def fit(
    trace: RecordedRouting, *, provenance: Provenance, num_classes: int = NUM_CLASSES, seed: int = 0
) -> FittedRouting:
    """Return the generator fitted to a trace.

    It has the trace's popularity, reuse by lag, next-layer recall and gate weights. ``provenance``
    describes the trace; its kind becomes ``fitted``. Raises InputError for a trace of fewer than
    MIN_TOKENS tokens.
    """
    if len(trace.expert_ids) < MIN_TOKENS:
        raise InputError(
            f"{trace.name}: a fit needs at least {MIN_TOKENS} tokens, got {len(trace.expert_ids)}"
        )
    routing = _without_copies(trace, provenance, num_classes, seed)
    # In this order, from what lasts longest to what fades first: each step explains what those
    # before it leave.
    routing = _with(routing, request_spread=_request_spread(trace, routing))
    routing = _with(routing, drift_spread=_drift_spread(trace, routing, seed))
    routing = _with_copies(trace, routing, seed)
    return _with(routing, linked_fraction=_linked_fraction(trace, routing, seed))


def _with(routing: FittedRouting, **numbers: Any) -> FittedRouting:
    return replace(routing, numbers=replace(routing.numbers, **numbers))


def _without_copies(
    trace: RecordedRouting, provenance: Provenance, num_classes: int, seed: int
) -> FittedRouting:
    ids = trace.expert_ids
    classes = token_classes(ids, trace.num_experts, num_classes, seed)
    share = np.bincount(classes) / len(classes)
    lags = _possible(CLASS_LAGS, trace)
    kept, chain = class_process(classes, share, trace.borders, lags, seed)
    num_copied = len(_possible(COPY_LAGS, trace))
    return FittedRouting(
        label=f"fitted to {trace.name}",
        stated_provenance=replace(provenance, kind=Kind.FITTED),
        numbers=FittedNumbers(
            top_k=ids.shape[2],
            class_share=share,
            inclusion=np.stack(
                [inclusion(ids[classes == index], trace.num_experts) for index in range(len(share))]
            ),
            class_kept=kept,
            class_chain=chain,
            copy_kernel=np.full(num_copied, 1.0 / num_copied),
            copied=np.zeros(ids.shape[1]),
            request_spread=np.zeros(ids.shape[1]),
            drift_spread=np.zeros(ids.shape[1]),
            drift_tokens=DRIFT_TOKENS,
            linked_fraction=0.0,
            gate=_gate_profile(trace.weights),
            sequence_num_tokens=tuple(np.diff(trace.borders).tolist()),
        ),
    )


def _possible(lags: NDArray[np.int64], trace: RecordedRouting) -> NDArray[np.int64]:
    """Return the lags that leave the longest sequence some tokens to compare."""
    # Fewer than eight pairs say nothing of a lag.
    return lags[lags <= max(1, int(np.diff(trace.borders).max()) - 8)]


def _solve_copies(at_zero: float, excess: Array, pairs: NDArray[np.int64]) -> Array:
    """Return copy probabilities [lag], none negative, that explain the excess reuse over chance.

    They solve the Yule-Walker equations, where ``excess`` [lag] is the autocorrelation and
    ``at_zero`` its value at lag 0. An equation weighs as much as the ``pairs`` [lag] of tokens that
    it was measured on.
    """
    curve = np.concatenate([[at_zero], excess])
    index = np.arange(1, len(curve))
    # Square roots, as the equations' errors are squared.
    weight = np.sqrt(pairs / max(pairs.max(), 1))
    from scipy.optimize import nnls  # a quarter of a second, which no other command should pay

    solution, _ = nnls(
        curve[np.abs(index[:, None] - index[None])] * weight[:, None], excess * weight
    )
    return np.asarray(solution)


def _request_spread(trace: RecordedRouting, routing: FittedRouting) -> Array:
    """Return the spread [layer] of requests' log preferences, the same for all layers.

    With it, far tokens of a request share as many experts as in the trace, beyond what popularity
    alone makes them share. Far means at least half the length of the median sequence, or twice the
    longest copied lag where that is less.
    """
    layers = trace.expert_ids.shape[1]
    lengths = np.diff(trace.borders)
    first = min(2 * int(COPY_LAGS[-1]), int(np.median(lengths)) // 2)
    lags = np.arange(max(first, 1), int(lengths.max()), max(1, (int(lengths.max()) - first) // 64))
    if len(lengths) == 1:
        return np.zeros(layers)  # one request shows its popularity, not how requests differ
    pairs = pair_counts(trace.borders, lags)
    far = reuse(trace.expert_ids, trace.borders, trace.num_experts, lags)[pairs > 0].T @ (
        pairs[pairs > 0] / pairs.sum()
    )
    # The floor is reuse of far tokens as a spread gives it; the trace's is looked up among them.
    floors = [
        float(
            floor(
                routing.numbers.inclusion, routing.numbers.class_share, np.full(layers, spread)
            ).mean()
        )
        for spread in SPREADS
    ]
    # Sampled floors may fall by noise; interpolation needs them rising.
    return np.full(layers, np.interp(float(far.mean()), np.maximum.accumulate(floors), SPREADS))


def _drift_spread(trace: RecordedRouting, routing: FittedRouting, seed: int) -> Array:
    """Return the spread [layer] of passing preferences that explains reuse at lags of DRIFT_LAGS.

    Those lags are too long for copies. Only reuse beyond that of classes and requests is explained.
    """
    lags = _possible(np.concatenate([COPY_LAGS, DRIFT_LAGS]), trace)
    layers = trace.expert_ids.shape[1]
    shown = _curve(
        routing.choose(np.diff(trace.borders), seed + 1), trace.borders, trace.num_experts, lags
    )
    excess = _curve(trace.expert_ids, trace.borders, trace.num_experts, lags) - shown
    shape = np.exp(-lags / routing.numbers.drift_tokens)
    is_far = lags >= DRIFT_LAGS[0]
    weight = shape * pair_counts(trace.borders, lags) * is_far
    amount = np.maximum(weight @ excess / max(float(weight @ shape), 1e-12), 0.0)
    least = (excess.mean(axis=1) / shape)[
        ~is_far
    ].min()  # copies can add to short lags, nothing can take away
    amount *= min(1.0, max(float(least), 0.0) / max(float(amount.mean()), 1e-12))
    # Passing preferences come on top of lasting ones.
    spreads = [np.hypot(routing.numbers.request_spread, spread) for spread in SPREADS]
    floors = np.array(
        [
            floor(routing.numbers.inclusion, routing.numbers.class_share, spread)
            for spread in spreads
        ]
    )
    raised = np.maximum.accumulate(floors - floors[0], axis=0)
    return np.array(
        [np.interp(amount[layer], raised[:, layer], SPREADS) for layer in range(layers)]
    )


def _with_copies(trace: RecordedRouting, routing: FittedRouting, seed: int) -> FittedRouting:
    """Add the copies: solved for the excess over what classes alone give, then corrected.

    Each correction compares the reuse of a generated trace with that of the recording.
    """
    lags = _possible(COPY_LAGS, trace)
    lengths = np.diff(trace.borders)
    wanted = _curve(trace.expert_ids, trace.borders, trace.num_experts, lags)
    shown = _curve(routing.choose(lengths, seed + 1), trace.borders, trace.num_experts, lags)
    at_zero = 1.0 - shown.mean(axis=0)
    solution = _solve_copies(
        float(at_zero.mean()), (wanted - shown).mean(axis=1), pair_counts(trace.borders, lags)
    )
    by_layer = np.full(len(at_zero), 1.0)
    for attempt in range(NUM_ROUNDS):
        total = float(solution.sum())
        kernel = solution / total if total > 0.0 else np.full(len(lags), 1.0 / len(lags))
        routing = _with(
            routing, copy_kernel=kernel, copied=np.clip(total * by_layer, 0.0, MAX_COPIED)
        )
        shown = _curve(
            # Another seed each time, so that the noise of one draw is not fitted.
            routing.choose(lengths, seed + 2 + attempt),
            trace.borders,
            trace.num_experts,
            lags,
        )
        missing = wanted - shown
        solution = np.maximum(solution + 0.5 * missing.mean(axis=1), 0.0)
        unusual = (missing - missing.mean(axis=1, keepdims=True)).mean(axis=0)
        by_layer = np.maximum(by_layer + 0.5 * unusual / max(float(solution.sum()), 0.02), 0.0)
        # Layers differ around 1: how much is copied in all is the solution's.
        by_layer /= max(float(by_layer.mean()), 1e-12)
    return routing


def _curve(
    expert_ids: NDArray[np.int16],
    borders: NDArray[np.int64],
    num_experts: int,
    lags: NDArray[np.int64],
) -> Array:
    return np.nan_to_num(reuse(expert_ids, borders, num_experts, lags))


def _linked_fraction(trace: RecordedRouting, routing: FittedRouting, seed: int) -> float:
    """Return the share of choices to make alike in all layers, so that next-layer recall agrees."""
    if trace.expert_ids.shape[1] < 2:
        return 0.0
    lengths = np.diff(trace.borders)
    wanted = next_layer_recall(trace.expert_ids, trace.borders, trace.num_experts, 1)
    # Recall rises smoothly with the share that is linked, so five points and lines between do.
    tried = np.linspace(0.0, 1.0, 5)
    recalls = []
    for fraction in tried:
        ids = _with(routing, linked_fraction=float(fraction)).choose(lengths, seed + 1)
        recalls.append(next_layer_recall(ids, trace.borders, trace.num_experts, 1))
    return float(np.interp(wanted, np.maximum.accumulate(recalls), tried))


def _gate_profile(weights: NDArray[np.float32] | None) -> GateProfile | None:
    if weights is None:
        return None
    mean, spread, correlation = _log_moments(weights)
    profile = GateProfile(log_mean=mean, log_spread=spread, correlation=correlation)
    wanted = weights.astype(np.float64).mean(axis=0)
    for _ in range(
        NUM_GATE_ROUNDS
    ):  # putting drawn weights in order moves their means, so what is drawn is corrected by what comes out
        drawn = np.empty((NUM_GATE_TOKENS, *mean.shape), np.float32)
        fill_gate_weights(
            profile.log_mean,
            profile.log_spread,
            profile.correlation,
            np.uint64(sequence_key(0, 0)),
            drawn,
        )
        profile = replace(
            profile, log_mean=profile.log_mean + 0.5 * np.log(wanted / drawn.mean(axis=0))
        )
    return profile


def _log_moments(weights: NDArray[np.float32]) -> tuple[Array, Array, float]:
    """Return the mean and spread of log weights [layer, rank], and their correlation.

    The correlation is the mean over any two ranks, or 0 where that is negative.
    """
    # Half precision may have rounded a small share to 0.
    logs = np.log(np.maximum(weights.astype(np.float64), 1e-6))
    mean = logs.mean(axis=0)
    spread = logs.std(axis=0)
    ranks = weights.shape[2]
    if ranks == 1:
        return mean, spread, 0.0
    together = (
        ((logs - mean) / np.maximum(spread, 1e-9)).sum(axis=2) ** 2
    ).mean()  # ranks + ranks (ranks - 1) · correlation
    return mean, spread, min(max(float((together - ranks) / (ranks * (ranks - 1))), 0.0), 1.0)
