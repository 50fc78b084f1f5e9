"""Compiled functions that turn the decisions of a layer into tasks; ``passes`` puts them together.

Order of a layer on the GPU: host overhead · copy of the whole layer (if streamed), or of experts
that come early · attention · gate · activations to the CPU · CPU experts · shared experts · early
experts · resident experts · each missing expert's copy (after the one that leaves, in a swap) and
run · activations back. The next layer waits for the last of each lane.
"""

import numpy as np

from sim.engine.compilation import inner
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action
from sim.step.lowering.crossing import AWAY, Crossing, cross, hidden_on
from sim.step.lowering.draft import (
    CPU,
    D2H,
    FROM_GPU,
    GPU,
    H2D,
    HOST,
    NUM_JOINS,
    PLACE,
    STAGED,
    STATE_SIZE,
    append,
    append_activations,
    append_hidden,
    append_weights,
    hidden_ns,
    lane_of,
    last_on,
    note_last,
    owner_of,
    set_join,
    wait_for,
    wait_for_join,
)
from sim.step.lowering.shelf import bring_in

_CPU_ACTION = int(Action.CPU)
_RESIDENT = int(Action.RESIDENT)
_FETCH = int(Action.FETCH)
_SWAP = int(Action.SWAP)
_EARLY = int(Action.EARLY)
_SHARED = int(TaskKind.SHARED_EXPERT)
_EXPERT = int(TaskKind.EXPERT)
_FETCHING = int(TaskKind.FETCH)
_EVICT = int(TaskKind.EVICT)
_OVERHEAD = int(TaskKind.OVERHEAD)
_SLOT_FETCH = int(TaskKind.SLOT_FETCH)
_EARLY_FETCH = int(TaskKind.EARLY_FETCH)
_NONE = NONE


@inner
def emit_overhead(draft, duration_ns, layer):
    """Emit host time that the next task waits for; a duration of 0 emits nothing."""
    if duration_ns > 0:
        wait_for_join(draft)
        set_join(draft, append(draft, HOST, duration_ns, _OVERHEAD, layer), _NONE)


@inner
def move_hidden(draft, place, tokens, layer):
    """Bring the hidden state to ``place`` (GPU or CPU), once the layer before has ended.

    Nothing is emitted if the hidden state is there already. If the layer before lies on another
    card, the hidden state goes from card to card.
    """
    before = max(layer - 1, 0) if layer >= 0 else layer
    if draft.state[PLACE] != place:
        wait_for_join(draft)
        if place == CPU:
            duration_ns = hidden_ns(draft.sheet, FROM_GPU, tokens, before)
            set_join(draft, append_hidden(draft, D2H, duration_ns, tokens, layer), _NONE)
        else:
            set_join(draft, append_activations(draft, H2D, tokens, layer), _NONE)
        draft.state[PLACE] = place
    elif place == GPU and layer >= 0 and draft.sheet.layers[layer].is_border == 1:
        wait_for_join(draft)
        # The cards of layers share the lanes of GPU 0, for one works at a time.
        set_join(draft, cross(draft, Crossing(before, layer, 0, 0), tokens), _NONE)


@inner
def emit_shared(draft, at, last):
    """Emit the shared experts of a layer on the GPU, if it has any; return the last task there."""
    duration_ns = draft.sheet.work[at.pass_index, at.layer].ffn
    return append(draft, GPU, duration_ns, _SHARED, at.layer) if duration_ns > 0 else last


@inner
def emit_expert(draft, at, expert, resource):
    """Emit the run of one routed expert on a GPU or the CPU; return its number."""
    sheet = draft.sheet
    tokens = sheet.tokens[at.pass_index, at.layer, expert]
    device = 1 if resource == CPU else 0
    duration_ns = sheet.experts[device, sheet.layers[at.layer].shape, tokens]
    number = append(draft, resource, duration_ns, _EXPERT, at.layer)
    draft.rows[number].expert = expert
    return number


@inner
def emit_fetched_expert(draft, at, expert, gate, last):
    """Emit the copy of a missing expert and its run; return the last run on GPU 0.

    The copy goes into the next free buffer or, in a swap, into the slot of the expert that leaves.
    """
    sheet = draft.sheet
    state = draft.state
    ring = draft.expert_ring
    layer = at.layer
    source = gate
    owner = owner_of(sheet, layer, expert)
    is_swap = sheet.actions[at.pass_index, layer, expert] == _SWAP
    read = bring_in(draft, layer, expert, gate, 0)
    if is_swap:
        # The expert that leaves may be one that this layer has just used.
        wait_for(draft, last_on(draft, owner, last))
        leaving = sheet.leaving[at.pass_index, layer, expert]
        source = append_weights(draft, lane_of(sheet, D2H, owner), _EVICT, layer, leaving)
    wait_for(draft, source)
    wait_for(draft, read)
    counter = STAGED if owner == 0 else STATE_SIZE + state[NUM_JOINS] + owner - 1
    slot = state[counter] % ring.shape[1]
    if not is_swap:
        wait_for(draft, ring[owner, slot])
    kind = _SLOT_FETCH if is_swap else _FETCHING
    wait_for(draft, append_weights(draft, lane_of(sheet, H2D, owner), kind, layer, expert))
    wait_for(draft, hidden_on(draft, owner, _NONE))
    run = emit_expert(draft, at, expert, lane_of(sheet, GPU, owner))
    if not is_swap:
        ring[owner, slot] = run
        state[counter] += 1
    return note_last(draft, owner, run, last)


@inner
def _num_early(sheet, at):
    """Return how many experts of a layer are copied early."""
    number = 0
    for expert in range(sheet.actions.shape[2]):
        number += sheet.actions[at.pass_index, at.layer, expert] == _EARLY
    return number


@inner
def emit_early_copies(draft, at):
    """Copy a layer's early experts into the next free buffers of GPU 0, before its gate.

    Return the first copy, or NONE if there is none. The copies are consecutive tasks.
    """
    if _num_early(draft.sheet, at) == 0:
        return _NONE
    ring = draft.expert_ring
    first = _NONE
    # Reads go first, so that the copies are consecutive; the disk's last one is behind all others.
    read = np.int64(_NONE)
    free = ring[0, draft.state[STAGED] % ring.shape[1]]
    for expert in range(draft.sheet.actions.shape[2]):
        if draft.sheet.actions[at.pass_index, at.layer, expert] == _EARLY:
            read = max(read, bring_in(draft, at.layer, expert, free, 0))
    for expert in range(draft.sheet.actions.shape[2]):
        if draft.sheet.actions[at.pass_index, at.layer, expert] == _EARLY:
            slot = draft.state[STAGED] % ring.shape[1]
            wait_for(draft, ring[0, slot])
            wait_for(draft, read)
            copy = append_weights(draft, H2D, _EARLY_FETCH, at.layer, expert)
            ring[0, slot] = copy
            draft.state[STAGED] += 1
            first = copy if first < 0 else first
    return first


@inner
def emit_early_runs(draft, at, first, last):
    """Run the early experts that were selected; return the last run.

    ``first`` is the first early copy, ``last`` the last task on the GPU so far.
    """
    sheet = draft.sheet
    ring = draft.expert_ring
    # No buffer has been taken since the copies, so that theirs are the last ones.
    slot = draft.state[STAGED] - _num_early(sheet, at)
    copy = first
    for expert in range(sheet.actions.shape[2]):
        if sheet.actions[at.pass_index, at.layer, expert] == _EARLY:
            # The buffer of one that is not selected is free as soon as its copy has ended.
            if sheet.tokens[at.pass_index, at.layer, expert] > 0:
                wait_for(draft, copy)
                last = emit_expert(draft, at, expert, GPU)
                ring[0, slot % ring.shape[1]] = last
            slot += 1
            copy += 1
    return last


@inner
def count_sent(draft, at, tokens):
    """Return how many hidden states go to the CPU, or come back, for ``tokens`` selections."""
    # A token that selects several CPU experts is sent once.
    count = draft.sheet.passes[at.pass_index].num_tokens
    return count if draft.sheet.run[0].hand_over > 0 else min(tokens, count)


@inner
def send_down(draft, at, gate, tokens):
    """Copy hidden states to the CPU and hand them over; return the last task and the number of
    tokens.

    ``tokens`` selections are on the CPU. If every layer hands over, the hidden states of all tokens
    go.
    """
    hand_over = draft.sheet.run[0].hand_over
    count = count_sent(draft, at, tokens)
    wait_for(draft, gate)
    sent = append_activations(draft, D2H, count, at.layer)
    if hand_over > 0:
        wait_for(draft, sent)
        sent = append(draft, CPU, hand_over, _OVERHEAD, at.layer)
    return sent, count


@inner
def send_up(draft, at, last_on_cpu, tokens):
    """Copy results of ``tokens`` tokens from the CPU to the GPU; return the copy.

    Return NONE if nothing ran on the CPU (``last_on_cpu`` is NONE).
    """
    if last_on_cpu < 0:
        return _NONE
    wait_for(draft, last_on_cpu)
    return append_activations(draft, H2D, tokens, at.layer)


@inner
def tokens_of(sheet, at, action, experts):
    """Return the tokens of those ``experts`` of a layer that have the action."""
    found = 0
    for expert in experts:
        if sheet.actions[at.pass_index, at.layer, expert] == action:
            found += sheet.tokens[at.pass_index, at.layer, expert]
    return found


@inner
def run_on_cpu(draft, at, action, experts, ready, last):
    """Run those ``experts`` of a layer that have the action on the CPU; return the last run.

    Return ``last`` if none has the action. ``ready`` holds the task that runs wait for and the task
    that reads from the disk wait for. If experts run in groups, these experts are one call.
    """
    sheet = draft.sheet
    sent, known = ready
    if sheet.run[0].group_cpu > 0 and tokens_of(sheet, at, action, experts) > 0:
        wait_for(draft, sent)
        append(draft, CPU, sheet.run[0].group_cpu, _OVERHEAD, at.layer)
    for expert in experts:
        if sheet.actions[at.pass_index, at.layer, expert] == action:
            read = bring_in(draft, at.layer, expert, known, 0)
            wait_for(draft, sent)
            wait_for(draft, read)
            last = emit_expert(draft, at, expert, CPU)
    return last


@inner
def emit_cpu_experts(draft, at, gate, experts):
    """Send activations to the CPU and run those ``experts`` of the layer that have the action CPU.

    Return the last of these tasks, NONE if nothing is sent, and the number of tokens sent.
    """
    sheet = draft.sheet
    hands_over = sheet.run[0].hand_over > 0
    tokens = tokens_of(sheet, at, _CPU_ACTION, experts)
    last = _NONE
    if tokens > 0 or hands_over:
        sent, tokens = send_down(draft, at, gate, tokens)
        last = sent if hands_over else last
        last = run_on_cpu(draft, at, _CPU_ACTION, experts, (sent, gate), last)
    return last, tokens


@inner
def emit_gpu_experts(draft, at, gate, streamed, early):
    """Run a layer's shared experts and the routed experts of its GPUs; return the last run on GPU
    0.

    ``streamed`` is the copy of a streamed layer to GPU 1, ``early`` the first copy of an early
    expert; NONE says that there is none.
    """
    sheet = draft.sheet
    everyone = range(sheet.tokens.shape[2])
    last = emit_shared(draft, at, gate)
    emit_group_launch(draft, at, gate, everyone)
    if early >= 0:
        last = emit_early_runs(draft, at, early, last)
    for expert in everyone:
        if sheet.actions[at.pass_index, at.layer, expert] == _RESIDENT:
            owner = owner_of(sheet, at.layer, expert)
            # On GPU 0, what is in order there stands behind gate and copy anyway.
            if owner > 0:
                wait_for(draft, hidden_on(draft, owner, gate))
                wait_for(draft, streamed if streamed < 0 else streamed + owner - 1)
            run = emit_expert(draft, at, expert, lane_of(sheet, GPU, owner))
            last = note_last(draft, owner, run, last)
    for expert in everyone:
        if _FETCH <= sheet.actions[at.pass_index, at.layer, expert] <= _SWAP:
            last = emit_fetched_expert(draft, at, expert, gate, last)
    return last


@inner
def emit_group_launch(draft, at, gate, experts):
    """Emit what one call for the ``experts`` of a layer takes on each GPU beyond the work of the
    experts.

    Nothing is emitted unless experts run in groups.
    """
    sheet = draft.sheet
    run = sheet.run[0]
    is_grouped = run.group_gpu > 0 or run.least_gpu > 0
    for owner in range(run.num_gpus if is_grouped else 0):
        shape = sheet.layers[at.layer].shape
        work = 0
        for expert in experts:
            is_there = owner_of(sheet, at.layer, expert) == owner
            if is_there and sheet.actions[at.pass_index, at.layer, expert] not in AWAY:
                work += sheet.experts[0, shape, sheet.tokens[at.pass_index, at.layer, expert]]
        # The kernels of the call take their own time, and all of it lasts no less than its launches.
        beyond = max(run.group_gpu, run.least_gpu - work)
        if work > 0 and beyond > 0:
            if owner > 0:
                wait_for(draft, hidden_on(draft, owner, gate))
            append(draft, lane_of(sheet, GPU, owner), beyond, _OVERHEAD, at.layer)
