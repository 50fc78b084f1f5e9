"""The slots of a cache in compiled form: which experts the GPU holds or awaits, and which leaves
when room is needed.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, part
from sim.engine.task import NONE
from sim.policies.cache.score import Score

ABSENT, HELD, COMING = range(3)
QUEUED, STARTED, ARRIVED = range(3)

SLOT = np.dtype(
    [
        ("status", "i4"),
        ("phase", "i4"),  # of the copy that brings it: QUEUED, STARTED or ARRIVED
        ("is_unused", "i4"),  # brought by a prefetch, not used since
        ("visits", "i4"),
        ("copy", "i8"),  # task that brings or brought it
        ("started_ns", "i8"),  # when that began, once it has
        ("looked_up", "i8"),  # task that its prefetch waits for: what named it
        ("freed_by", "i8"),  # and the last use of what was in its place
        ("last_use", "i8"),  # task that last read its weights
        ("pinned_at", "i8"),  # stamp of the gate that needs it kept
        ("used_at", "i8"),  # stamp of the gate at which it last ran
    ],
    align=True,
)
"""One expert as the cache sees it."""

LEAVER = np.dtype([("expert", "i8"), ("worth", "f8"), ("is_last", "i8")], align=True)
"""One that may leave; ``is_last``: only where no other is left, since the gate at hand selected it
too.
"""
KNOWN = np.dtype([(name, "i8") for name in ("stamp", "row", "is_lasting", "num", "is_all")])
"""How many leavers of a layer are listed, and whether they are all: for the gate with that stamp
(NONE: for none), and if ``is_lasting`` for those after it too, while the layer's forecast is that
of the same ``row``."""
LISTED = 4
"""Experts that may leave, listed for each layer: a gate mostly makes room for several at once, and
listing more takes as long as looking again. With one budget for all layers the list has one,
because the leavers spread over the layers.
"""

(
    TICK,
    RANDOM_STATE,
    NUM_COMING,
    WASTED_BYTES,
    PREFETCHED_BYTES,
    NUM_OPERATIONS,
    LATE_USES,
    REACH,
    NOW_NS,
    SERVED,
) = range(10)
"""Places in the counters; NOW_NS is when the gate at hand ended, SERVED its stamp while its misses
find room (else NONE).
"""
NUM_COUNTERS = 10

_RECENCY = int(Score.RECENCY)
_FREQUENCY = int(Score.FREQUENCY)
_RANDOM = int(Score.RANDOM)
_NEXT_USE = int(Score.NEXT_USE)
_TIMES_VISITS = int(Score.FORECAST_TIMES_VISITS)
_BY_DEPTH = int(Score.FORECAST_BY_DEPTH)
_SMOOTHED = int(Score.SMOOTHED_GATE)
_SELECTIVE = int(Score.SELECTIVE_GATE)
_NONE = NONE
TIE_BREAK = 2.0**-32
"""Weight of recency where frequency decides: below one visit, and exact, up to 2³² uses and 2²⁰
visits of an expert.
"""


class Cached(NamedTuple):
    """A cache at work.

    ``slots`` [layer, expert] of SLOT, and their ``scores``; ``free`` slots by layer, the last for a
    budget over all layers, of each GPU in turn; ``coming`` lists awaited experts as layer · experts
    + expert. ``forecast`` holds predicted shares as in Predictions, ``gates`` [pass, layer, expert]
    the true ones, ``next_use`` [pass, layer, expert] the next pass that selects; empty where no
    score needs them. ``held[layer, :num_held[layer]]`` are the experts with status HELD, ascending:
    few of many, so that no search looks at all slots. ``leavers[layer, :known[layer].num]`` of
    LEAVER are those of them that may leave and are worth least, the least first (ties to the lower
    number), as ``known`` [layer] of KNOWN says.
    """

    slots: NDArray[np.void]
    scores: NDArray[np.float64]
    free: NDArray[np.int64]
    coming: NDArray[np.int64]
    counters: NDArray[np.int64]
    forecast: NDArray[np.float32]
    gates: NDArray[np.float32]
    next_use: NDArray[np.int32]
    held: NDArray[np.int32]
    num_held: NDArray[np.int64]
    leavers: NDArray[np.void]
    known: NDArray[np.void]


def held_of(slots: NDArray[np.void], *, is_global: bool) -> dict[str, NDArray[Any]]:
    """``held``, ``num_held``, ``leavers`` and ``known`` of a cache with those slots, in which
    nothing has been looked for.
    """
    is_held = slots["status"] == HELD
    known = np.zeros(len(slots), KNOWN)
    known["stamp"] = NONE
    return {
        "held": np.argsort(~is_held, axis=1, kind="stable").astype(np.int32),
        "num_held": is_held.sum(axis=1),
        "leavers": np.zeros((len(slots), 1 if is_global else LISTED), LEAVER),
        "known": known,
    }


@inner
def hold(cached, layer, expert):
    """An expert is on the GPU from now on.

    What is listed for this gate leaves out what it needs, until that has run.
    """
    cached.slots[layer, expert].status = HELD
    held = cached.held[layer]
    place = cached.num_held[layer]
    while place > 0 and held[place - 1] > expert:
        held[place] = held[place - 1]
        place -= 1
    held[place] = expert
    cached.num_held[layer] += 1
    cached.known[layer].is_lasting = 0


@inner
def release(cached, layer, expert):
    """An expert is no longer on the GPU."""
    cached.slots[layer, expert].status = ABSENT
    held = cached.held[layer]
    place = 0
    while held[place] != expert:
        place += 1
    cached.num_held[layer] -= 1
    for following in range(place, cached.num_held[layer]):
        held[following] = held[following + 1]
    forget(cached, layer)


@inner
def forget(cached, layer):
    """Who may leave of a layer, or what they are worth, is not what it was."""
    cached.known[layer].stamp = _NONE
    cached.known[layer].is_lasting = 0


@inner
def worth(cached, score, index, current, layer, expert):
    """How much an expert of any layer is worth keeping, at the gate of layer ``current`` in pass
    ``index``.
    """
    slot = cached.slots[layer, expert]
    if score in (_RECENCY, _SMOOTHED, _SELECTIVE):
        return cached.scores[layer, expert]
    if score == _FREQUENCY:
        return slot.visits + cached.scores[layer, expert] * TIE_BREAK
    if score == _RANDOM:
        return random_fraction(cached.counters)
    if score == _NEXT_USE:
        from_pass = (
            index if layer > current else index + 1
        )  # next_use has a row behind the last pass
        num_layers = cached.slots.shape[0]
        return -float(cached.next_use[from_pass, layer, expert] * num_layers + layer)
    share = float(cached.forecast[_row(cached, index, current, layer), layer, expert])
    if score == _TIMES_VISITS:
        return share * max(
            slot.visits, 1
        )  # coming in counts as a visit: else what is fetched ahead for the first time leaves first
    return share * (1.0 - layer / cached.slots.shape[0])


@inner
def _row(cached, index, current, layer):
    """Which forecast holds for a layer; row 0 stands before the first pass."""
    return index + 1 if layer <= current + cached.counters[REACH] else index


@inner
def random_fraction(counters):
    """The next of a seeded sequence (xorshift64) in [0, 1)."""
    state = np.uint64(counters[RANDOM_STATE])
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    counters[RANDOM_STATE] = np.int64(state)
    return float(state >> np.uint64(11)) * 2.0**-53


@inner
def note_gate(cached, score, alpha, kept, index, layer, asked, tokens):
    """Tell the scores of a layer that its gate has selected those ``asked`` for with tokens: held
    or awaited ones first, then the missing.

    SMOOTHED_GATE: S = alpha · TopP(s) + (1 − alpha) · S, where TopP keeps the ``kept`` largest
    shares (HybriMoE, 2504.05897).
    """
    for expert in asked:
        cached.slots[layer, expert].visits += tokens[expert] > 0
    if score in (_SMOOTHED, _SELECTIVE):
        shares = cached.gates[index, layer]
        scores = cached.scores[layer]
        for expert in range(len(scores)):
            scores[expert] *= 1.0 - alpha
        for expert in range(len(shares)):
            if shares[expert] > 0:  # few of many
                num_larger = 0
                for other in range(len(shares)):
                    num_larger += shares[other] > shares[expert]
                if num_larger < kept:
                    scores[expert] += alpha * shares[expert]
        return
    # The missing are noted last: what is about to be fetched counts as the most recent of all.
    for is_missing in (False, True):
        for expert in asked:
            if tokens[expert] > 0 and (cached.slots[layer, expert].status == ABSENT) == is_missing:
                cached.counters[TICK] += 1
                cached.scores[layer, expert] = cached.counters[TICK]


@inner
def _pool(cached, is_global, layer, expert):
    """The place in ``free`` of the slots that an expert of a layer may take."""
    num_layers = cached.slots.shape[0]
    num_gpus = len(cached.free) // (num_layers + 1)
    return (num_layers if is_global else layer) * num_gpus + (
        layer * cached.slots.shape[1] + expert
    ) % num_gpus


@inner
def _list_leavers(cached, score, index, current, layer, stamp, owner):
    """List who may leave of a layer on that GPU."""
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    known = cached.known[layer]
    known.stamp = stamp
    known.row = _row(cached, index, current, layer)
    known.is_lasting = 1
    known.num = 0
    known.is_all = 1
    for candidate in cached.held[layer, : cached.num_held[layer]]:
        if num_gpus > 1 and (layer * cached.slots.shape[1] + candidate) % num_gpus != owner:
            continue
        slot = cached.slots[layer, candidate]
        # What came ahead for one of the next layers stays until it has served: else prefetches would
        # push each other out.
        is_kept = (
            score == _TIMES_VISITS
            and slot.is_unused
            and current < layer <= current + cached.counters[REACH]
        )
        if is_kept or (slot.pinned_at == stamp and slot.used_at != stamp):
            known.is_lasting = 0
            continue
        _list(
            cached, score, layer, candidate, worth(cached, score, index, current, layer, candidate)
        )


@inner
def _list(cached, score, layer, expert, value):
    """List one more that may leave, if it is among the least."""
    known = cached.known[layer]
    leavers = cached.leavers[layer]
    is_last = _leaves_last(cached, score, layer, expert)
    place = known.num
    if is_last:
        known.is_lasting = 0
    # Once one was left out, nothing is put behind the listed: it may be worth more than who was
    # left out, and the list holds the least.
    if place == len(leavers) or known.is_all == 0:
        known.is_all = 0
        if place == 0 or not _leaves_first(expert, value, is_last, leavers[place - 1]):
            return
        if place == len(leavers):
            place -= 1
    while place > 0 and _leaves_first(expert, value, is_last, leavers[place - 1]):
        _note_leaver(
            leavers[place],
            leavers[place - 1].expert,
            leavers[place - 1].worth,
            leavers[place - 1].is_last,
        )
        place -= 1
    _note_leaver(leavers[place], expert, value, is_last)
    known.num = min(known.num + 1, len(leavers))


@inner
def _leaves_last(cached, score, layer, expert):
    """Whether the gate whose misses find room selected the expert too.

    Belady's cache, which knows the future, needs no such rule.
    """
    served = cached.counters[SERVED]
    return np.int64(
        score != _NEXT_USE and served != _NONE and cached.slots[layer, expert].pinned_at == served
    )


@inner
def _leaves_first(expert, value, is_last, other):
    if is_last != other.is_last:
        return is_last < other.is_last
    return value < other.worth or (value == other.worth and expert < other.expert)


@inner
def _note_leaver(leaver, expert, value, is_last):
    leaver.expert = expert
    leaver.worth = value
    leaver.is_last = is_last


@inner
def note_run(cached, score, index, layer, expert, stamp):
    """An expert has run, at the gate with that stamp in its layer: what the GPU holds may leave
    from now on.
    """
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    slot = cached.slots[layer, expert]
    slot.used_at = stamp
    if num_gpus > 1 or score == _RANDOM:
        forget(cached, layer)
    elif cached.known[layer].stamp == stamp and slot.status == HELD:
        _list(cached, score, layer, expert, worth(cached, score, index, layer, layer, expert))


@inner
def take_slot(cached, score, is_global, index, current, layer, expert, stamp, layers):
    """Make room for one expert of a layer: (whether there is any, the task that last read what
    leaves, the layer, the expert that leaves).

    On the GPU of that expert. What is on its way stays, and what the gate with that stamp needs
    until it has run. What the gate SERVED selected leaves only where no other is left. Of what was
    fetched ahead, FORECAST_TIMES_VISITS keeps what is for a layer within reach. NEXT_USE, which
    knows, and SELECTIVE_GATE make room for nothing that is worth no more than all they hold: that
    goes through a buffer.
    """
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    owner = (layer * cached.slots.shape[1] + expert) % num_gpus
    place = _pool(cached, is_global, layer, expert)
    if cached.free[place] > 0:
        cached.free[place] -= 1
        return True, _NONE, _NONE, _NONE
    first, last = (0, cached.slots.shape[0]) if is_global else (layer, layer + 1)
    least = 0.0
    is_last = np.int64(0)
    victim_layer = np.int64(_NONE)
    victim = np.int64(_NONE)
    for candidate_layer in range(first, last):
        known = cached.known[candidate_layer]
        is_known = known.stamp == stamp or (
            known.is_lasting == 1 and known.row == _row(cached, index, current, candidate_layer)
        )
        if (
            not is_known
            or (known.num == 0 and known.is_all == 0)
            or num_gpus > 1
            or score == _RANDOM
        ):
            _list_leavers(cached, score, index, current, candidate_layer, stamp, owner)
        own = cached.leavers[candidate_layer, 0]
        if known.num > 0 and (
            victim < 0 or own.is_last < is_last or (own.is_last == is_last and own.worth < least)
        ):
            least = own.worth
            is_last = own.is_last
            victim_layer = np.int64(candidate_layer)
            victim = own.expert
    if victim < 0 or (
        score in (_NEXT_USE, _SELECTIVE)
        and least >= worth(cached, score, index, current, layer, expert)
    ):
        return False, _NONE, _NONE, _NONE
    slot = cached.slots[victim_layer, victim]
    known = cached.known[victim_layer]
    is_lasting = known.is_lasting
    release(cached, victim_layer, victim)
    known.stamp = stamp
    known.is_lasting = is_lasting
    known.num = known.num - 1
    for place in range(known.num):
        following = cached.leavers[victim_layer, place + 1]
        _note_leaver(
            cached.leavers[victim_layer, place],
            following.expert,
            following.worth,
            following.is_last,
        )
    if slot.is_unused:
        cached.counters[WASTED_BYTES] += layers[victim_layer].expert_bytes
        slot.is_unused = 0
    return True, slot.last_use, victim_layer, victim


@inner
def note_arrival(cached, score, layer, expert):
    """An expert fetched ahead comes in as the most recently used: else it would leave before it is."""
    if score != _SMOOTHED:
        cached.counters[TICK] += 1
        cached.scores[layer, expert] = cached.counters[TICK]


@inner
def give_back(cached, is_global, layer, expert):
    """The slot of an expert, of its layer (or of the common budget), is free again."""
    cached.free[_pool(cached, is_global, layer, expert)] += 1


@part
def settle_arrivals(cached):
    """What has arrived is held from now on."""
    num_experts = cached.slots.shape[1]
    num_left = 0
    for place in range(cached.counters[NUM_COMING]):
        code = cached.coming[place]
        slot = cached.slots[code // num_experts, code % num_experts]
        if slot.phase == ARRIVED:
            hold(cached, code // num_experts, code % num_experts)
        else:
            cached.coming[num_left] = code
            num_left += 1
    cached.counters[NUM_COMING] = num_left
