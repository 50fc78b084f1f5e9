"""The slots of a cache in compiled form: which experts the GPU holds or awaits, and which leaves when room is needed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, kernel
from sim.policies.cache.score import Score
from sim.task import NONE

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
        ("score", "f8"),
    ],
    align=True,
)
"""One expert as the cache sees it."""

LEAST = np.dtype([("stamp", "i8"), ("expert", "i8"), ("worth", "f8")], align=True)
"""The least worthy expert of a layer that may leave (NONE: none may) at the gate with that stamp, whose worths stay; NONE: not known."""

TICK, RANDOM_STATE, NUM_COMING, WASTED_BYTES, PREFETCHED_BYTES, NUM_OPERATIONS, LATE_USES, REACH, NOW_NS = range(9)
"""Places in the counters; NOW_NS is when the gate at hand ended."""
NUM_COUNTERS = 9

_RECENCY, _FREQUENCY, _RANDOM, _NEXT_USE = int(Score.RECENCY), int(Score.FREQUENCY), int(Score.RANDOM), int(Score.NEXT_USE)
_TIMES_VISITS, _BY_DEPTH, _SMOOTHED = int(Score.FORECAST_TIMES_VISITS), int(Score.FORECAST_BY_DEPTH), int(Score.SMOOTHED_GATE)
_SELECTIVE = int(Score.SELECTIVE_GATE)
_NONE = NONE
TIE_BREAK = 2.0**-40
"""Weight of recency where frequency decides: below one visit for any run."""


class Cached(NamedTuple):
    """A cache at work.

    ``slots`` [layer, expert] of SLOT; ``free`` slots by layer, the last for a budget over all layers, of each GPU in turn; ``coming``
    lists awaited experts as layer · experts + expert. ``forecast`` holds predicted shares as in Predictions, ``gates``
    [pass, layer, expert] the true ones, ``next_use`` [pass, layer, expert] the next pass that selects; empty where no score needs them.
    ``held[layer, :num_held[layer]]`` are the experts with status HELD, ascending: few of many, so that no search looks at all slots.
    ``least`` [layer] of LEAST says which of them is worth least, where nothing has changed since it was looked for.
    """

    slots: NDArray[np.void]
    free: NDArray[np.int64]
    coming: NDArray[np.int64]
    counters: NDArray[np.int64]
    forecast: NDArray[np.float32]
    gates: NDArray[np.float32]
    next_use: NDArray[np.int32]
    held: NDArray[np.int32]
    num_held: NDArray[np.int64]
    least: NDArray[np.void]


def held_of(slots: NDArray[np.void]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.void]]:
    """``held``, ``num_held`` and ``least`` of a cache with those slots, in which nothing has been looked for."""
    is_held, least = slots["status"] == HELD, np.zeros(len(slots), LEAST)
    least["stamp"] = NONE
    return np.argsort(~is_held, axis=1, kind="stable").astype(np.int32), is_held.sum(axis=1), least


@inner
def hold(cached, layer, expert):
    """An expert is on the GPU from now on."""
    cached.slots[layer, expert].status = HELD
    held, place = cached.held[layer], cached.num_held[layer]
    while place > 0 and held[place - 1] > expert:
        held[place] = held[place - 1]
        place -= 1
    held[place] = expert
    cached.num_held[layer] += 1
    cached.least[layer].stamp = _NONE


@inner
def release(cached, layer, expert):
    """An expert is no longer on the GPU."""
    cached.slots[layer, expert].status = ABSENT
    held, place = cached.held[layer], 0
    while held[place] != expert:
        place += 1
    cached.num_held[layer] -= 1
    for following in range(place, cached.num_held[layer]):
        held[following] = held[following + 1]
    cached.least[layer].stamp = _NONE


@inner
def worth(cached, score, index, current, layer, expert):
    """How much an expert of any layer is worth keeping, at the gate of layer ``current`` in pass ``index``."""
    slot = cached.slots[layer, expert]
    if score in (_RECENCY, _SMOOTHED, _SELECTIVE):
        return slot.score
    if score == _FREQUENCY:
        return slot.visits + slot.score * TIE_BREAK
    if score == _RANDOM:
        return random_fraction(cached.counters)
    if score == _NEXT_USE:
        from_pass = index if layer > current else index + 1  # next_use has a row behind the last pass
        num_layers = cached.slots.shape[0]
        return -float(cached.next_use[from_pass, layer, expert] * num_layers + layer)
    row = index + 1 if layer <= current + cached.counters[REACH] else index  # row 0 of a forecast stands before the first pass
    share = float(cached.forecast[row, layer, expert])
    if score == _TIMES_VISITS:
        return share * max(slot.visits, 1)  # coming in counts as a visit: else what is fetched ahead for the first time leaves first
    return share * (1.0 - layer / cached.slots.shape[0])


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
    """Tell the scores of a layer that its gate has selected those of ``asked`` with tokens: first what is held or awaited, then the missing.

    SMOOTHED_GATE: S = alpha · TopP(s) + (1 − alpha) · S, where TopP keeps the ``kept`` largest shares (HybriMoE, 2504.05897).
    """
    for expert in asked:
        cached.slots[layer, expert].visits += tokens[expert] > 0
    if score in (_SMOOTHED, _SELECTIVE):
        shares = cached.gates[index, layer]
        for expert in range(len(shares)):
            slot, share = cached.slots[layer, expert], shares[expert]
            if share > 0:  # of many experts few are: counting takes longest
                num_larger = 0
                for other in range(len(shares)):
                    num_larger += shares[other] > share
                if num_larger >= kept:
                    share = np.float32(0.0)
            slot.score = alpha * share + (1.0 - alpha) * slot.score
        return
    for is_missing in (False, True):
        for expert in asked:
            slot = cached.slots[layer, expert]
            if tokens[expert] > 0 and (slot.status == ABSENT) == is_missing:
                cached.counters[TICK] += 1
                slot.score = cached.counters[TICK]


@inner
def _pool(cached, is_global, layer, expert):
    """The place in ``free`` of the slots that an expert of a layer may take."""
    num_layers = cached.slots.shape[0]
    num_gpus = len(cached.free) // (num_layers + 1)
    return (num_layers if is_global else layer) * num_gpus + (layer * cached.slots.shape[1] + expert) % num_gpus


@inner
def _least_of(cached, score, index, current, layer, stamp, owner):
    """The expert of a layer on that GPU that is worth least of those that may leave, and its worth; ties to the lower number."""
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    least, victim = 0.0, np.int64(_NONE)
    for candidate in cached.held[layer, : cached.num_held[layer]]:
        if num_gpus > 1 and (layer * cached.slots.shape[1] + candidate) % num_gpus != owner:
            continue
        slot = cached.slots[layer, candidate]
        if slot.pinned_at == stamp and slot.used_at != stamp:
            continue
        if score == _TIMES_VISITS and slot.is_unused and current < layer <= current + cached.counters[REACH]:
            continue
        value = worth(cached, score, index, current, layer, candidate)
        if victim < 0 or value < least:
            least, victim = value, np.int64(candidate)
    return victim, least


@inner
def take_slot(cached, score, is_global, index, current, layer, expert, stamp, layers):
    """Make room for one expert of a layer: (whether there is any, the task that last read what leaves, the layer, the expert that leaves).

    On the GPU of that expert. What is on its way stays, and what the gate with that stamp needs until it has run; of what was fetched
    ahead, FORECAST_TIMES_VISITS keeps what is for a layer within reach. NEXT_USE, which knows, and SELECTIVE_GATE make
    room for nothing that is worth no more than all they hold: that goes through a buffer.
    """
    num_gpus = len(cached.free) // (cached.slots.shape[0] + 1)
    owner, place = (layer * cached.slots.shape[1] + expert) % num_gpus, _pool(cached, is_global, layer, expert)
    if cached.free[place] > 0:
        cached.free[place] -= 1
        return True, _NONE, _NONE, _NONE
    first, last = (0, cached.slots.shape[0]) if is_global else (layer, layer + 1)
    least, victim_layer, victim = 0.0, np.int64(_NONE), np.int64(_NONE)
    for candidate_layer in range(first, last):
        own = cached.least[candidate_layer]
        if own.stamp != stamp or num_gpus > 1 or score == _RANDOM:
            own.stamp = stamp
            own.expert, own.worth = _least_of(cached, score, index, current, candidate_layer, stamp, owner)
        if own.expert >= 0 and (victim < 0 or own.worth < least):
            least, victim_layer, victim = own.worth, np.int64(candidate_layer), own.expert
    if victim < 0 or (score in (_NEXT_USE, _SELECTIVE) and least >= worth(cached, score, index, current, layer, expert)):
        return False, _NONE, _NONE, _NONE
    slot = cached.slots[victim_layer, victim]
    release(cached, victim_layer, victim)
    if slot.is_unused:
        cached.counters[WASTED_BYTES] += layers[victim_layer].expert_bytes
        slot.is_unused = 0
    return True, slot.last_use, victim_layer, victim


@inner
def note_arrival(cached, score, slot):
    """An expert fetched ahead comes in as the most recently used: else it would leave before it is."""
    if score != _SMOOTHED:
        cached.counters[TICK] += 1
        slot.score = cached.counters[TICK]


@inner
def give_back(cached, is_global, layer, expert):
    """The slot of an expert, of its layer (or of the common budget), is free again."""
    cached.free[_pool(cached, is_global, layer, expert)] += 1


@kernel
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
