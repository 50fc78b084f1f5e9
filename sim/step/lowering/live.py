"""What is decided and emitted at a gate when residency changes over time: hits, promotions, fetches
and prefetches.

A pass begins with ``emit_start_of_pass``, which prefetches the experts that are named before any
gate. A layer has two parts. ``emit_to_gate`` emits the tasks up to its gate. The caller waits for
the gate and notes which copies have started or arrived. Then ``emit_after_gate`` classifies all
selected experts together, asks the dispatch rule about the misses, makes room, and emits runs and
copies. The prefetches that the gate calls for come last. Both engines are driven by these
functions.
"""

import numpy as np

from sim.engine.compilation import inner, part
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action
from sim.step.lowering.crossing import bring_back, hidden_on, send_across
from sim.step.lowering.draft import (
    D2H,
    GPU,
    H2D,
    HOST,
    N,
    append,
    append_weights,
    lane_of,
    leave_order,
    note_last,
    owner_of,
    return_to_order,
    set_join,
    start_of_pass,
    wait_for,
)
from sim.step.lowering.emit import (
    emit_cpu_experts,
    emit_expert,
    emit_fetched_expert,
    emit_group_launch,
    send_up,
)
from sim.step.lowering.leavers import note_run, take_slot
from sim.step.lowering.live_ahead import fetch_ahead, hold_back
from sim.step.lowering.live_dispatch import dispatch_missing
from sim.step.lowering.live_gain import fetch_gainful
from sim.step.lowering.operations import empty, take_back
from sim.step.lowering.passes import begin_layer, end_pass
from sim.step.lowering.shelf import bring_in
from sim.step.lowering.slots import (
    ARRIVED,
    COMING,
    HELD,
    NUM_OPERATIONS,
    SERVED,
    forget,
    hold,
    settle_arrivals,
)
from sim.step.lowering.worth import note_gate
from sim.step.rules.split import find_selected

MATCHER = 5
"""The number of the resource that looks up predictions; the other numbers are in ``draft``."""

_RESIDENT = int(Action.RESIDENT)
_FETCH = int(Action.FETCH)
_LATE = int(Action.LATE)
_SHARED = int(TaskKind.SHARED_EXPERT)
_FETCHING = int(TaskKind.SLOT_FETCH)
_LOOKUP = int(TaskKind.LOOKUP)
_EVICT = int(TaskKind.EVICT)
_NONE = NONE


@part
def emit_start_of_pass(draft, cached, live, last, index):
    """Emit the prefetches that are named before a pass has any gate.

    ``last`` is the task with which the pass before has ended.
    """
    now = start_of_pass(draft.sheet, index)
    cached.counters[NUM_OPERATIONS] = 0
    settle_arrivals(cached)
    lookup = _look_up(draft, live, now, last)
    fetch_ahead(draft, cached, live, now, lookup)


@inner
def emit_to_gate(draft, at):
    """Emit overhead, attention and gate of a layer on the GPU; return the gate.

    A dense layer is emitted whole, and NONE is returned.
    """
    return begin_layer(draft, at)[0]


@inner
def emit_after_gate(draft, cached, live, now, gate):
    """Emit everything that a gate sets off.

    The caller must pass the operations to the session first, and then the tasks.
    """
    sheet = draft.sheet
    layer = now.layer
    cached.counters[NUM_OPERATIONS] = 0
    settle_arrivals(cached)
    rules = live.rules[0]
    if rules.in_turn:
        take_back(cached, live, layer, _NONE)  # the loop has its own copies wait for their turn
    believed = _classify(sheet, cached, live, now)
    asked = live.asked[: live.num_asked[0]]
    note_gate(cached, now, asked, sheet.tokens[now.pass_index, layer])
    # Behind the rule: it has just kept of the late ones those that it waits for.
    if rules.drops_stale:
        take_back(cached, live, layer, now.stamp)
    lookup = _look_up(draft, live, now, gate)
    for gpu in range(len(live.on_demand)):
        live.on_demand[gpu] = _NONE
    if not rules.in_turn:  # a loop over experts is done with each once it has run
        cached.counters[SERVED] = now.stamp
    _emit_experts(draft, cached, live, now, lookup if rules.is_lookup_awaited else gate)
    if not rules.in_turn:
        # Who left last while misses found room may be the first to leave from now on.
        cached.counters[SERVED] = _NONE
        forget(cached, layer)
    # Prefetches come last: misses of the gate at hand are first on the link and take room first.
    if rules.pauses_on_miss:
        hold_back(draft, cached, live, layer)
    fetch_ahead(draft, cached, live, now, lookup)
    if len(live.chances) > 0:
        fetch_gainful(draft, cached, live, now, lookup, believed)
    if cached.rules[0].is_emptied and not sheet.layers["is_moe"][layer + 1 :].any():
        empty(sheet, cached)


@inner
def _classify(sheet, cached, live, now):
    """Set the action of every expert asked for: held, late, or what the dispatch rule says.

    Return what ``dispatch_missing`` returns.
    """
    layer = now.layer
    tokens = sheet.tokens[now.pass_index, layer]
    actions = sheet.actions[now.pass_index, layer]
    if live.rules[0].loads_all:
        live.num_asked[0] = len(tokens)
        for expert in range(len(tokens)):
            live.asked[expert] = expert
    else:
        live.num_asked[0] = find_selected(tokens, live.asked)
    actions[:] = 0
    forget(cached, layer)
    # All are judged before any moves: a fetch for one must not push out another of the same gate.
    for expert in live.asked[: live.num_asked[0]]:
        slot = cached.slots[layer, expert]
        slot.pinned_at = now.stamp
        if slot.status == HELD:
            actions[expert] = _RESIDENT
        elif slot.status == COMING:
            actions[expert] = _LATE
        elif tokens[expert] == 0:
            actions[expert] = _FETCH
    return dispatch_missing(sheet, cached, live, now)


@inner
def _look_up(draft, live, now, gate):
    """Emit the time that finding a gate's prefetches takes; return the task that they wait for.

    If there are no prefetches or no such time, that task is the gate.
    """
    rules = live.rules[0]
    if rules.lookup_ns == 0 or live.first[now.stamp] == live.first[now.stamp + 1]:
        return gate
    wait_for(draft, gate)
    if rules.is_lookup_awaited:
        return append(draft, HOST, rules.lookup_ns, _LOOKUP, now.layer)
    return _append_aside(draft, rules.lookup_ns, now.layer)


@inner
def _append_aside(draft, duration_ns, layer):
    """Emit work of the matcher, outside the order of a serial pass; return its number."""
    before = leave_order(draft)
    number = append(draft, MATCHER, duration_ns, _LOOKUP, layer)
    return_to_order(draft, before)
    return number


@inner
def _emit_experts(draft, cached, live, now, ready):
    """Emit the runs and on-demand copies of a layer, then set what the next layer waits for.

    ``ready`` is the last task that the layer waits for, its gate or the lookup. The order is CPU
    experts, shared experts, held experts, late ones and fetched ones.
    """
    sheet = draft.sheet
    asked = live.asked[: live.num_asked[0]]
    last_on_cpu, tokens = emit_cpu_experts(draft, now, ready, asked)
    send_across(draft, now, ready, asked)
    last = ready
    actions = sheet.actions[now.pass_index, now.layer]
    shared_ns = sheet.work[now.pass_index, now.layer].ffn
    if shared_ns > 0:
        wait_for(draft, ready)
        last = append(draft, GPU, shared_ns, _SHARED, now.layer)
    emit_group_launch(draft, now, ready, asked)
    live.turn[0] = ready
    if live.rules[0].in_turn:
        for expert in asked:
            if actions[expert] in (_RESIDENT, _LATE, _FETCH):
                last = _run(draft, cached, live, now, expert, last)
                live.turn[0] = draft.state[N] - 1  # its run, on whichever GPU
    else:
        # What is there runs while what is missing comes.
        for wanted in (_RESIDENT, _LATE, _FETCH):
            for expert in asked:
                if actions[expert] == wanted:
                    last = _run(draft, cached, live, now, expert, last)
    set_join(draft, last, send_up(draft, now, last_on_cpu, tokens))
    bring_back(draft, now, asked)


@inner
def _run(draft, cached, live, now, expert, last):
    """Run one selected expert on its GPU, after its copy if it is missing; return the last run on
    GPU 0.

    The run waits for ``live.turn``.
    """
    turn = live.turn[0]
    slot = cached.slots[now.layer, expert]
    owner = owner_of(draft.sheet, now.layer, expert)
    is_missing = draft.sheet.actions[now.pass_index, now.layer, expert] == _FETCH
    if is_missing and not _fetch(draft, cached, live, now, expert):
        # Every slot is needed now: it goes through a staging buffer and leaves no trace.
        last = emit_fetched_expert(draft, now, expert, turn, last)
        live.on_demand[owner] = draft.state[N] - 2  # the copy stands before its run
        return last
    if is_missing:
        live.on_demand[owner] = slot.copy
    wait_for(draft, turn)
    wait_for(draft, hidden_on(draft, owner, _NONE))
    wait_for(draft, np.int64(slot.copy))
    run = emit_expert(draft, now, expert, lane_of(draft.sheet, GPU, owner))
    slot.last_use = run
    slot.is_unused = 0
    note_run(cached, now, expert)
    return note_last(draft, owner, run, last)


@inner
def _fetch(draft, cached, live, now, expert):
    """Copy a missing expert into a slot, in place of the least worthy expert.

    Return False if the expert gets no slot.
    """
    sheet = draft.sheet
    turn = live.turn[0]
    layer = now.layer
    has_room, freed_by, victim_layer, victim = take_slot(cached, now, layer, expert, sheet.layers)
    if not has_room:
        return False
    read = bring_in(draft, layer, expert, turn, 0)
    source = turn
    owner = owner_of(sheet, layer, expert)
    if cached.rules[0].writes_back and victim >= 0:
        wait_for(draft, turn)
        wait_for(draft, freed_by)
        source = append_weights(draft, lane_of(sheet, D2H, owner), _EVICT, victim_layer, victim)
    wait_for(draft, source)
    # Nothing may write into the slot before the last use of what is in it.
    wait_for(draft, freed_by)
    wait_for(draft, read)
    slot = cached.slots[layer, expert]
    slot.copy = append_weights(draft, lane_of(sheet, H2D, owner), _FETCHING, layer, expert)
    # As good as there: it is waited for, and no rule is asked about it before it has come.
    slot.phase = ARRIVED
    slot.is_unused = 0
    hold(cached, layer, expert)
    return True


@part
def emit_end_of_pass(draft, live, index):
    """Emit what follows the last layer of a pass.

    The matcher stores what was learnt from the pass, without delaying the next pass.
    """
    end_pass(draft, index)
    if live.rules[0].update_ns > 0:
        wait_for(draft, draft.last_task[index])
        _append_aside(draft, live.rules[0].update_ns, _NONE)
