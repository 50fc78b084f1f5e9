"""What a gate fetches ahead: candidates that a prefetcher has named.

Everything is compiled. ``live`` calls ``fetch_ahead`` once it has emitted the experts of the gate's
own layer.
"""

from typing import NamedTuple

import numpy as np

from sim.engine.compilation import inner, part
from sim.engine.task import NONE, TaskKind
from sim.step.lowering.draft import (
    H2D,
    NUM_JOINS,
    STATE_SIZE,
    append_weights,
    lane_of,
    leave_order,
    owner_of,
    return_to_order,
    wait_for,
)
from sim.step.lowering.leavers import take_slot
from sim.step.lowering.operations import DROP, operate
from sim.step.lowering.shelf import bring_in
from sim.step.lowering.slots import (
    ABSENT,
    COMING,
    NUM_COMING,
    PREFETCHED_BYTES,
    QUEUED,
    forget,
)
from sim.step.lowering.worth import note_arrival
from sim.step.rules.around import Whole

_PREFETCHING = int(TaskKind.PREFETCH)
_NONE = NONE


class Ahead(NamedTuple):
    """An expert of a later layer to be fetched, with its priority on the link."""

    layer: Whole
    expert: Whole
    priority: Whole


@part
def hold_back(draft, cached, live, layer):
    """Pause prefetching on every link for the misses of a gate.

    Queued prefetches for other layers are taken back, and queued anew behind the missing copies.
    """
    num_experts = cached.slots.shape[1]
    latest = np.int64(_NONE)
    for gpu in range(len(live.on_demand)):
        latest = max(latest, live.on_demand[gpu])
    if latest < 0:
        return  # no link has a copy on demand, so nothing has to make way
    for place in range(cached.counters[NUM_COMING]):
        code = cached.coming[place]
        of_layer = code // num_experts
        expert = code % num_experts
        slot = cached.slots[of_layer, expert]
        # A copy that has begun is not stopped, and what this layer awaits is needed now.
        if slot.phase == QUEUED and of_layer != layer:
            operate(cached, live, np.int64(slot.copy), DROP)
            priority = np.int64(draft.rows[slot.copy].priority)
            _queue(draft, live, slot, Ahead(of_layer, expert, priority))


@inner
def fetch_ahead(draft, cached, live, now, lookup):
    """Prefetch the gate's candidates that the GPU neither holds nor awaits, as many as may wait."""
    if live.first[now.stamp] < live.first[now.stamp + 1]:
        _fetch_named(draft, cached, live, now, np.int64(lookup))


@part
def _fetch_named(draft, cached, live, now, lookup):
    """Do what ``fetch_ahead`` does, for a gate that has candidates."""
    # All that is named is kept first: a copy must not take the place of what comes later in the list.
    end = _keep_named(cached, live, now.stamp)
    for place in range(live.first[now.stamp], end):
        named = live.candidates[place]
        if cached.slots[named.layer, named.expert].status == ABSENT:
            # On demand is 0: what a gate waits for goes before anything ahead of it.
            priority = np.int64(1 + named.priority)
            ahead = Ahead(np.int64(named.layer), np.int64(named.expert), priority)
            bring(draft, cached, live, now, lookup, ahead)


@inner
def _keep_named(cached, live, stamp):
    """Pin a gate's candidates in their order, until no more prefetches may wait.

    Return the end of the candidates that are considered.
    """
    room = live.rules[0].max_waiting - cached.counters[NUM_COMING]
    for place in range(live.first[stamp], live.first[stamp + 1]):
        candidate = live.candidates[place]
        slot = cached.slots[candidate.layer, candidate.expert]
        if slot.status == ABSENT:
            if room <= 0:
                return place
            room -= 1
        slot.pinned_at = stamp
        forget(cached, candidate.layer)
    return live.first[stamp + 1]


@inner
def bring(draft, cached, live, now, lookup, ahead):
    """Prefetch an expert once ``lookup`` has ended; return False if it gets no slot."""
    layer = ahead.layer
    expert = ahead.expert
    copied = draft.sheet.layers
    slot = cached.slots[layer, expert]
    has_room, freed_by, _, _ = take_slot(cached, now, layer, expert, copied)
    if not has_room:
        return False
    note_arrival(cached, layer, expert)
    slot.looked_up = lookup
    slot.freed_by = freed_by
    _queue(draft, live, slot, ahead)
    slot.status = COMING
    slot.phase = QUEUED
    slot.is_unused = 1
    cached.coming[cached.counters[NUM_COMING]] = layer * cached.slots.shape[1] + expert
    cached.counters[NUM_COMING] += 1
    cached.counters[PREFETCHED_BYTES] += copied[layer].expert_bytes
    return True


@inner
def _queue(draft, live, slot, ahead):
    """Emit the prefetch of an expert, behind the copies on demand if they pause prefetching."""
    state = draft.state
    rules = live.rules[0]
    owner = owner_of(draft.sheet, ahead.layer, ahead.expert)
    # Neither the read nor the copy takes part in a serial pass; reads on demand go first.
    order = leave_order(draft)
    read = bring_in(draft, ahead.layer, ahead.expert, slot.looked_up, ahead.priority)
    return_to_order(draft, order)
    wait_for(draft, read)
    wait_for(draft, np.int64(slot.looked_up))
    wait_for(draft, np.int64(slot.freed_by))
    if rules.pauses_on_miss:
        for gpu in range(len(live.on_demand)):
            wait_for(draft, live.on_demand[gpu])
    if rules.copies_in_turn:
        wait_for(draft, live.turn[0])
    # A prefetch takes no part in a serial pass, in which one thing would run at a time.
    before = leave_order(draft)
    lane = lane_of(draft.sheet, H2D, owner)
    slot.copy = append_weights(draft, lane, _PREFETCHING, ahead.layer, ahead.expert)
    return_to_order(draft, before)
    # In pieces, so that a copy on demand waits for the end of a piece at most.
    draft.rows[slot.copy].priority = ahead.priority
    draft.rows[slot.copy].num_chunks = rules.num_chunks
    if rules.copies_in_turn:
        live.turn[0] = slot.copy
    if rules.is_copy_awaited:
        state[STATE_SIZE + state[NUM_JOINS] - 1 - owner] = slot.copy
