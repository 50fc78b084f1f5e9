"""From decisions to tasks: what passes are made of, compiled. ``passes`` puts it together.

Order of a layer on the GPU: host overhead · copy of the whole layer (if streamed), or of experts
that come early · attention · gate · activations to the CPU · CPU experts · shared experts · early
experts · resident experts · each missing expert's copy (after the one that leaves, in a swap) and
run · activations back. The next layer waits for the last of each lane.
"""

import numpy as np

from sim.engine.compilation import inner
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action, LayerMode
from sim.step.lowering.sheet import (
    CPU,
    D2H,
    GPU,
    H2D,
    HOST,
    JOIN_A,
    JOIN_B,
    NUM_JOINS,
    PLACE,
    STAGED,
    STATE_SIZE,
    append,
    wait_for,
)
from sim.step.lowering.shelf import bring_in

_CPU_ACTION = int(Action.CPU)
_FETCH = int(Action.FETCH)
_SWAP = int(Action.SWAP)
_RESIDENT = int(Action.RESIDENT)
_IDLE = int(Action.IDLE)
_DEFERRED = int(Action.DEFERRED)
_AHEAD = int(Action.AHEAD)
_EARLY = int(Action.EARLY)
_ON_CPU = int(LayerMode.CPU)
_STREAM = int(LayerMode.STREAM)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_DENSE = int(TaskKind.DENSE_FFN)
_SHARED = int(TaskKind.SHARED_EXPERT)
_EXPERT = int(TaskKind.EXPERT)
_HEAD = int(TaskKind.HEAD)
_FETCHING = int(TaskKind.FETCH)
_LAYER_FETCH = int(TaskKind.LAYER_FETCH)
_EVICT = int(TaskKind.EVICT)
_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)
_OVERHEAD = int(TaskKind.OVERHEAD)
_SLOT_FETCH = int(TaskKind.SLOT_FETCH)
_EARLY_FETCH = int(TaskKind.EARLY_FETCH)
_NONE = NONE


@inner
def owner_of(sheet, layer, expert):
    """The GPU that an expert is on: they are dealt out in turn, layer after layer."""
    return (layer * sheet.tokens.shape[2] + expert) % sheet.run[0].num_gpus


@inner
def lane_of(sheet, first, owner):
    """The resource of GPU ``owner`` that is ``first`` (GPU, H2D or D2H) on GPU 0."""
    return first if owner == 0 else sheet.run[0].first_peer + 3 * (owner - 1) + first


@inner
def note_last(state, owner, task, last):
    """What was last on GPU 0, now that a task was emitted to a GPU; what was last on another is a
    further end to wait for.
    """
    if owner == 0:
        return task
    state[STATE_SIZE + owner - 1] = task
    return last


@inner
def last_on(state, owner, last):
    """What was last on a GPU, where ``last`` was on GPU 0."""
    return last if owner == 0 else state[STATE_SIZE + owner - 1]


@inner
def wait_for_join(out, state):
    """The task about to be emitted waits for the last of each lane of the layer before."""
    wait_for(out, state, state[JOIN_A])
    wait_for(out, state, state[JOIN_B])
    for place in range(STATE_SIZE, STATE_SIZE + state[NUM_JOINS]):
        wait_for(out, state, state[place])


@inner
def set_join(state, first, second):
    """What the next layer waits for."""
    state[JOIN_A] = first
    state[JOIN_B] = second


@inner
def emit_overhead(out, state, duration_ns, layer):
    """Host time that the next task waits for, if there is any."""
    if duration_ns > 0:
        wait_for_join(out, state)
        set_join(state, append(out, state, HOST, duration_ns, _OVERHEAD, layer, _NONE, 0), _NONE)


@inner
def move_hidden(out, state, sheet, place, tokens, layer):
    """Bring the hidden state to the GPU or the CPU if it is not there; by way of the host, if it is
    on another card.
    """
    is_across = place == GPU and layer >= 0 and sheet.layers[layer].is_border == 1
    if state[PLACE] == place and is_across:
        _carry_hidden(out, state, sheet, CPU, tokens, layer)
    if state[PLACE] != place:
        _carry_hidden(out, state, sheet, place, tokens, layer)


@inner
def _carry_hidden(out, state, sheet, place, tokens, layer):
    """Copy the hidden state to the GPU or the CPU, once the layer before has ended."""
    wait_for_join(out, state)
    if place == CPU:
        copy = append(
            out,
            state,
            D2H,
            sheet.activations[1, tokens],
            _ACTIVATIONS,
            layer,
            _NONE,
            tokens * sheet.run[0].activation_bytes,
        )
    else:
        copy = append(
            out,
            state,
            H2D,
            sheet.activations[0, tokens],
            _ACTIVATIONS,
            layer,
            _NONE,
            tokens * sheet.run[0].activation_bytes,
        )
    set_join(state, copy, _NONE)
    state[PLACE] = place


@inner
def emit_fetched_expert(out, state, sheet, ring, index, layer, expert, gate, last):
    """Copy a missing expert into the next free buffer, or into the slot of the expert that leaves,
    and run it; returns GPU 0's last run.

    The expert that leaves may be one that this layer has just used: a swap waits for the last run
    before it.
    """
    num_bytes = sheet.layers[layer].expert_bytes
    source = gate
    owner = owner_of(sheet, layer, expert)
    read = bring_in(out, state, sheet, layer, expert, gate, 0)
    is_swap = sheet.actions[index, layer, expert] == _SWAP
    if is_swap:
        wait_for(out, state, last_on(state, owner, last))
        leaving = np.int64(sheet.leaving[index, layer, expert])
        source = append(
            out,
            state,
            lane_of(sheet, D2H, owner),
            sheet.layers[layer].evict,
            _EVICT,
            layer,
            leaving,
            num_bytes,
        )
    wait_for(out, state, source)
    wait_for(out, state, read)
    counter = STAGED if owner == 0 else STATE_SIZE + state[NUM_JOINS] + owner - 1
    slot = state[counter] % ring.shape[1]
    if not is_swap:
        wait_for(out, state, ring[owner, slot])
    kind = _SLOT_FETCH if is_swap else _FETCHING
    copy = append(
        out,
        state,
        lane_of(sheet, H2D, owner),
        sheet.layers[layer].fetch,
        kind,
        layer,
        expert,
        num_bytes,
    )
    wait_for(out, state, copy)
    run = emit_expert(out, state, sheet, index, layer, expert, lane_of(sheet, GPU, owner))
    if not is_swap:
        ring[owner, slot] = run
        state[counter] += 1
    return note_last(state, owner, run, last)


@inner
def emit_early_copies(out, state, sheet, ring, index, layer):
    """Copy a layer's early experts into the next free buffers of GPU 0, whatever its gate will say;
    returns the first copy.

    The copies are consecutive tasks.
    """
    first = _NONE
    read = np.int64(_NONE)
    free = ring[0, state[STAGED] % ring.shape[1]]
    for expert in range(sheet.actions.shape[2]):
        if sheet.actions[index, layer, expert] == _EARLY:
            read = max(read, bring_in(out, state, sheet, layer, expert, free, 0))
    for expert in range(sheet.actions.shape[2]):
        if sheet.actions[index, layer, expert] == _EARLY:
            slot = state[STAGED] % ring.shape[1]
            wait_for(out, state, ring[0, slot])
            wait_for(out, state, read)
            copy = append(
                out,
                state,
                H2D,
                sheet.layers[layer].fetch,
                _EARLY_FETCH,
                layer,
                expert,
                sheet.layers[layer].expert_bytes,
            )
            ring[0, slot] = copy
            state[STAGED] += 1
            first = copy if first < 0 else first
    return first


@inner
def emit_early_runs(out, state, sheet, ring, index, layer, first, last):
    """Run those of them that were selected; ``first`` is the first copy.

    No buffer has been taken since. Returns the last run.
    """
    number = 0
    for expert in range(sheet.actions.shape[2]):
        number += sheet.actions[index, layer, expert] == _EARLY
    slot = state[STAGED] - number
    copy = first
    for expert in range(sheet.actions.shape[2]):
        if sheet.actions[index, layer, expert] == _EARLY:
            if sheet.tokens[index, layer, expert] > 0:
                wait_for(out, state, copy)
                last = emit_expert(out, state, sheet, index, layer, expert, GPU)
                ring[0, slot % ring.shape[1]] = last
            slot += 1
            copy += 1
    return last


@inner
def emit_expert(out, state, sheet, index, layer, expert, resource):
    """One routed expert on the GPU or the CPU."""
    tokens = sheet.tokens[index, layer, expert]
    shape = sheet.layers[layer].shape
    duration_ns = (
        sheet.experts[1, shape, tokens] if resource == CPU else sheet.experts[0, shape, tokens]
    )
    return append(out, state, resource, duration_ns, _EXPERT, layer, expert, 0)


@inner
def send_down(out, state, sheet, index, layer, gate, tokens):
    """Activations of those tokens to the CPU, of all where every layer hands over, and the
    hand-over; returns its last task, how many.
    """
    count = sheet.passes[index].num_tokens
    if sheet.run[0].hand_over == 0:
        count = min(tokens, count)
    wait_for(out, state, gate)
    sent = append(
        out,
        state,
        D2H,
        sheet.activations[1, count],
        _ACTIVATIONS,
        layer,
        _NONE,
        count * sheet.run[0].activation_bytes,
    )
    if sheet.run[0].hand_over > 0:
        wait_for(out, state, sent)
        sent = append(out, state, CPU, sheet.run[0].hand_over, _OVERHEAD, layer, _NONE, 0)
    return sent, count


@inner
def emit_cpu_experts(out, state, sheet, index, layer, gate, experts):
    """Send activations down and run the CPU experts among those of the layer.

    Returns the last of that, NONE where nothing is sent, and the tokens sent.
    """
    tokens = 0
    for expert in experts:
        if sheet.actions[index, layer, expert] == _CPU_ACTION:
            tokens += sheet.tokens[index, layer, expert]
    last = _NONE
    has_experts = tokens > 0
    if has_experts or sheet.run[0].hand_over > 0:
        sent, tokens = send_down(out, state, sheet, index, layer, gate, tokens)
        last = sent if sheet.run[0].hand_over > 0 else last
        if has_experts and sheet.run[0].group_cpu > 0:
            wait_for(out, state, sent)
            append(out, state, CPU, sheet.run[0].group_cpu, _OVERHEAD, layer, _NONE, 0)
        for expert in experts:
            if sheet.actions[index, layer, expert] == _CPU_ACTION:
                read = bring_in(out, state, sheet, layer, expert, gate, 0)
                wait_for(out, state, sent)
                wait_for(out, state, read)
                last = emit_expert(out, state, sheet, index, layer, expert, CPU)
    return last, tokens


@inner
def emit_group_launch(out, state, sheet, index, layer, gate, experts):
    """Where those ``experts`` of a layer on a GPU run as one call: what it lasts beyond the work of
    all of them; on each GPU.

    Its kernels take their own time, and all of it lasts no less than its launches.
    """
    is_grouped = sheet.run[0].group_gpu > 0 or sheet.run[0].least_gpu > 0
    for owner in range(sheet.run[0].num_gpus if is_grouped else 0):
        shape = sheet.layers[layer].shape
        work = 0
        for expert in experts:
            is_there = owner_of(sheet, layer, expert) == owner
            if is_there and sheet.actions[index, layer, expert] not in (
                _IDLE,
                _CPU_ACTION,
                _DEFERRED,
                _AHEAD,
            ):
                work += sheet.experts[0, shape, sheet.tokens[index, layer, expert]]
        beyond = max(sheet.run[0].group_gpu, sheet.run[0].least_gpu - work)
        if work > 0 and beyond > 0:
            if owner > 0:
                wait_for(out, state, gate)
            append(out, state, lane_of(sheet, GPU, owner), beyond, _OVERHEAD, layer, _NONE, 0)
