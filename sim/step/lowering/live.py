"""What is decided and emitted at a gate when residency changes over time: hits, promotions,
fetches, prefetches.

A pass begins with ``emit_start_of_pass``, which fetches ahead what is named before any gate. A
layer goes in two parts. ``emit_to_gate`` emits what leads to its gate. Once that has ended, and the
caller has noted which copies have started or arrived, ``emit_after_gate`` classifies all selected
experts together, asks the dispatch rule about the misses, makes room, emits runs and copies, and
then the prefetches that the gate calls for. Both engines are driven by these functions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, kernel, part
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action
from sim.policies.dispatch.rule import Rule
from sim.step.lowering.emit import (
    emit_cpu_experts,
    emit_expert,
    emit_fetched_expert,
    emit_group_launch,
    emit_overhead,
    lane_of,
    move_hidden,
    note_last,
    owner_of,
    set_join,
    wait_for_join,
)
from sim.step.lowering.live_ahead import append_aside, fetch_ahead, fetch_gainful, hold_back
from sim.step.lowering.live_dispatch import dispatch_missing
from sim.step.lowering.operations import empty, take_back
from sim.step.lowering.passes import emit_head
from sim.step.lowering.sheet import (
    D2H,
    GPU,
    H2D,
    HOST,
    N,
    append,
    wait_for,
)
from sim.step.lowering.shelf import bring_in
from sim.step.lowering.slots import (
    ARRIVED,
    COMING,
    HELD,
    NUM_OPERATIONS,
    SERVED,
    forget,
    hold,
    note_gate,
    note_run,
    settle_arrivals,
    take_slot,
)
from sim.step.rules.split import find_selected

MATCHER = 5
"""The resource that looks predictions up, beside those of ``emit``."""

RULES = np.dtype(
    [
        (name, "i8")
        for name in (
            "dispatch",
            "score",
            "is_global",
            "kept",
            "drops_stale",
            "num_chunks",
            "max_waiting",
            "lookup_ns",
            "is_lookup_awaited",
            "is_copy_awaited",
            "pauses_on_miss",
            "update_ns",
            "writes_back",
            "in_turn",
            "loads_all",
            "copies_in_turn",
            "is_emptied",
        )
    ]
    + [("alpha", "f8")],
    align=True,
)
"""The parts' parameters: Rule, Score, whether one budget serves all layers, …; times in ns."""

_RESIDENT = int(Action.RESIDENT)
_FETCH = int(Action.FETCH)
_LATE = int(Action.LATE)
_SPILL = int(Rule.SPILL)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_DENSE = int(TaskKind.DENSE_FFN)
_SHARED = int(TaskKind.SHARED_EXPERT)
_FETCHING = int(TaskKind.SLOT_FETCH)
_PREFETCHING = int(TaskKind.PREFETCH)
_LOOKUP = int(TaskKind.LOOKUP)
_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)
_EVICT = int(TaskKind.EVICT)
_NONE = NONE


class Live(NamedTuple):
    """What a live run works on.

    ``candidates[first[g]:first[g + 1]]`` are the prefetches of gate g = pass · layers + layer,
    behind the gates those of the starts of passes; ``believed`` is ns [CPU, copy, GPU; layer shape;
    tokens]; ``operations`` [n, 2] (task, PROMOTE or DROP) is what the gate just handled asks of the
    session; ``on_demand`` [GPU] is the gate's last copy of a missing expert to each; ``turn`` [1]
    is what the next in turn waits for; ``fixed`` is as in Around; ``spilled`` [pass, layer, expert]
    (empty without such a rule) is filled in as it goes; ``asked[:num_asked[0]]`` are the experts
    that the gate at hand asks for, ascending. ``is_miss``, ``is_held``, ``copies`` and ``plan``
    [expert], ``priced`` [3, expert], ``room`` [ROOM, expert], ``named`` and ``due`` [step, expert],
    ``num_named`` [step] and ``needs`` are working room. ``notes`` [layer shape, misses, hits; end
    in ns, misses and hits on the CPU] are what spills came to in the ``cases`` [layer shape; tokens
    of each expert, ns beside, tokens of the pass, ns of a copy]. Where prefetches are weighed by
    simulation, ``expected`` [step, pass, layer, expert] and ``chances`` [step] are as in
    Predictions.
    """

    rules: NDArray[np.void]
    first: NDArray[np.int64]
    candidates: NDArray[np.void]
    believed: NDArray[np.int64]
    operations: NDArray[np.int64]
    on_demand: NDArray[np.int64]
    turn: NDArray[np.int64]
    fixed: NDArray[np.int64]
    spilled: NDArray[np.bool_]
    is_miss: NDArray[np.bool_]
    is_held: NDArray[np.bool_]
    copies: NDArray[np.int64]
    priced: NDArray[np.int64]
    room: NDArray[np.int64]
    asked: NDArray[np.int64]
    num_asked: NDArray[np.int64]
    plan: NDArray[np.uint8]
    cases: NDArray[np.int64]
    notes: NDArray[np.int64]
    named: NDArray[np.int64]
    num_named: NDArray[np.int64]
    due: NDArray[np.int64]
    needs: NDArray[np.int64]
    expected: NDArray[np.int32]
    chances: NDArray[np.float64]


@part
def emit_start_of_pass(out, state, sheet, cached, live, last, index):
    """The prefetches named before the pass has any gate, once the pass before has ended with task
    ``last``.
    """
    stamp = start_of_pass(sheet, index)
    cached.counters[NUM_OPERATIONS] = 0
    settle_arrivals(cached)
    lookup = _look_up(out, state, live, _NONE, last, stamp)
    fetch_ahead(out, state, sheet, cached, live, index, _NONE, lookup, stamp)


@kernel
def start_of_pass(sheet, index):
    """The place of a pass's start among the gates: behind them all."""
    return np.int64(sheet.work.size + index)


@part
def emit_to_gate(out, state, sheet, index, layer):
    """Overhead, attention and gate of a layer on the GPU; returns the gate.

    A dense layer is emitted whole, and returns NONE.
    """
    emit_overhead(out, state, sheet.run[0].layer_overhead, layer)
    move_hidden(out, state, sheet, GPU, sheet.passes[index].num_tokens, layer)
    wait_for_join(out, state)
    append(out, state, GPU, sheet.work[index, layer].attention, _ATTENTION, layer, _NONE, 0)
    if sheet.layers[layer].is_moe:
        return append(out, state, GPU, sheet.work[index, layer].gate, _GATE, layer, _NONE, 0)
    set_join(
        state, append(out, state, GPU, sheet.work[index, layer].ffn, _DENSE, layer, _NONE, 0), _NONE
    )
    return _NONE


@part
def emit_after_gate(out, state, sheet, cached, live, ring, index, layer, gate):
    """Everything that the gate sets off; the session is to be told the operations, then given the
    tasks.
    """
    stamp = np.int64(index) * sheet.work.shape[1] + layer
    cached.counters[NUM_OPERATIONS] = 0
    settle_arrivals(cached)
    rules = live.rules[0]
    if rules.in_turn:
        take_back(cached, live, layer, _NONE)  # the loop has its own copies wait for their turn
    believed = _classify(sheet, cached, live, index, layer, stamp)
    note_gate(
        cached,
        rules.score,
        rules.alpha,
        rules.kept,
        index,
        layer,
        live.asked[: live.num_asked[0]],
        sheet.tokens[index, layer],
    )
    if rules.drops_stale:
        take_back(cached, live, layer, stamp)
    lookup = _look_up(out, state, live, layer, gate, stamp)
    for gpu in range(len(live.on_demand)):
        live.on_demand[gpu] = _NONE
    if not rules.in_turn:  # a loop over experts is done with each once it has run
        cached.counters[SERVED] = stamp
    _emit_experts(out, state, sheet, cached, live, ring, index, layer, gate, lookup, stamp)
    if not rules.in_turn:
        cached.counters[SERVED] = _NONE
        forget(cached, layer)
    if rules.pauses_on_miss:
        hold_back(out, state, sheet, cached, live, layer)
    fetch_ahead(out, state, sheet, cached, live, index, layer, lookup, stamp)
    if len(live.chances) > 0:
        fetch_gainful(out, state, sheet, cached, live, index, layer, lookup, stamp, believed)
    if rules.is_emptied and not sheet.layers["is_moe"][layer + 1 :].any():
        empty(sheet, cached, live)


@inner
def _classify(sheet, cached, live, index, layer, stamp):
    """Set the action of every expert asked for: held, late, or what the dispatch rule says; all are
    judged before any moves.

    Returns what ``dispatch_missing`` does.
    """
    tokens = sheet.tokens[index, layer]
    actions = sheet.actions[index, layer]
    if live.rules[0].loads_all:
        live.num_asked[0] = len(tokens)
        for expert in range(len(tokens)):
            live.asked[expert] = expert
    else:
        live.num_asked[0] = find_selected(tokens, live.asked)
    actions[:] = 0
    forget(cached, layer)
    for expert in live.asked[: live.num_asked[0]]:
        slot = cached.slots[layer, expert]
        slot.pinned_at = stamp
        if slot.status == HELD:
            actions[expert] = _RESIDENT
        elif slot.status == COMING:
            actions[expert] = _LATE
        elif tokens[expert] == 0:
            actions[expert] = _FETCH
    return dispatch_missing(sheet, cached, live, index, layer)


@inner
def _look_up(out, state, live, layer, gate, stamp):
    """Time that finding this gate's prefetches takes, if there are any; returns what they wait for."""
    rules = live.rules[0]
    if rules.lookup_ns == 0 or live.first[stamp] == live.first[stamp + 1]:
        return gate
    wait_for(out, state, gate)
    if rules.is_lookup_awaited:
        return append(out, state, HOST, rules.lookup_ns, _LOOKUP, layer, _NONE, 0)
    return append_aside(out, state, MATCHER, rules.lookup_ns, _LOOKUP, layer, _NONE, 0)


@inner
def _emit_experts(out, state, sheet, cached, live, ring, index, layer, gate, lookup, stamp):
    """Runs and on-demand copies:

    CPU experts, shared experts, held ones, late ones in their order, fetched ones; then the join.
    """
    ready = lookup if live.rules[0].is_lookup_awaited else gate
    asked = live.asked[: live.num_asked[0]]
    last_on_cpu, tokens = emit_cpu_experts(out, state, sheet, index, layer, ready, asked)
    last = ready
    actions = sheet.actions[index, layer]
    if sheet.work[index, layer].ffn > 0:
        wait_for(out, state, ready)
        last = append(out, state, GPU, sheet.work[index, layer].ffn, _SHARED, layer, _NONE, 0)
    emit_group_launch(out, state, sheet, index, layer, ready, asked)
    live.turn[0] = ready
    if live.rules[0].in_turn:
        for expert in asked:
            if actions[expert] in (_RESIDENT, _LATE, _FETCH):
                last = _run(
                    out,
                    state,
                    sheet,
                    cached,
                    live,
                    ring,
                    index,
                    layer,
                    expert,
                    live.turn[0],
                    last,
                    stamp,
                )
                live.turn[0] = state[N] - 1  # its run, on whichever GPU
    else:
        for wanted in (_RESIDENT, _LATE, _FETCH):
            for expert in asked:
                if actions[expert] == wanted:
                    last = _run(
                        out,
                        state,
                        sheet,
                        cached,
                        live,
                        ring,
                        index,
                        layer,
                        expert,
                        ready,
                        last,
                        stamp,
                    )
    back = _NONE
    if last_on_cpu >= 0:
        wait_for(out, state, last_on_cpu)
        num_bytes = tokens * sheet.run[0].activation_bytes
        back = append(
            out, state, H2D, sheet.activations[0, tokens], _ACTIVATIONS, layer, _NONE, num_bytes
        )
    set_join(state, last, back)


@inner
def _run(out, state, sheet, cached, live, ring, index, layer, expert, gate, last, stamp):
    """One selected expert on its GPU, its copy first where it is missing; returns the last run on
    GPU 0.
    """
    slot = cached.slots[layer, expert]
    owner = owner_of(sheet, layer, expert)
    is_missing = sheet.actions[index, layer, expert] == _FETCH
    if is_missing and not _fetch(
        out, state, sheet, cached, live, index, layer, expert, gate, stamp
    ):
        last = emit_fetched_expert(out, state, sheet, ring, index, layer, expert, gate, last)
        live.on_demand[owner] = state[N] - 2  # the copy stands before its run
        return last
    if is_missing:
        live.on_demand[owner] = slot.copy
    wait_for(out, state, gate)
    wait_for(out, state, slot.copy)
    run = emit_expert(out, state, sheet, index, layer, expert, lane_of(sheet, GPU, owner))
    slot.last_use = run
    slot.is_unused = 0
    note_run(cached, live.rules[0].score, index, layer, expert, stamp)
    return note_last(state, owner, run, last)


@inner
def _fetch(out, state, sheet, cached, live, index, layer, expert, gate, stamp):
    """Copy a missing expert into a slot, in place of the least worthy; False if every slot is
    needed now.
    """
    rules = live.rules[0]
    has_room, freed_by, victim_layer, victim = take_slot(
        cached, rules.score, rules.is_global, index, layer, layer, expert, stamp, sheet.layers
    )
    if not has_room:
        return False
    read = bring_in(out, state, sheet, layer, expert, gate, 0)
    source = gate
    num_bytes = sheet.layers[layer].expert_bytes
    owner = owner_of(sheet, layer, expert)
    if rules.writes_back and victim >= 0:
        wait_for(out, state, gate)
        wait_for(out, state, freed_by)
        leaving = sheet.layers[victim_layer]
        source = append(
            out,
            state,
            lane_of(sheet, D2H, owner),
            leaving.evict,
            _EVICT,
            victim_layer,
            victim,
            leaving.expert_bytes,
        )
    wait_for(out, state, source)
    wait_for(out, state, freed_by)
    wait_for(out, state, read)
    slot = cached.slots[layer, expert]
    slot.copy = append(
        out,
        state,
        lane_of(sheet, H2D, owner),
        sheet.layers[layer].fetch,
        _FETCHING,
        layer,
        expert,
        num_bytes,
    )
    slot.phase = ARRIVED
    slot.is_unused = 0
    hold(cached, layer, expert)
    return True


@part
def emit_end_of_pass(out, state, sheet, live, rings, last_task, index):
    """What follows the last layer of a pass; notes the task that ends it.

    What was learnt from the pass is stored aside.
    """
    emit_head(out, state, sheet, rings, index)
    emit_overhead(out, state, sheet.run[0].step_overhead, _NONE)
    last_task[index] = state[N] - 1
    if live.rules[0].update_ns > 0:
        wait_for(out, state, last_task[index])
        append_aside(out, state, MATCHER, live.rules[0].update_ns, _LOOKUP, _NONE, _NONE, 0)
