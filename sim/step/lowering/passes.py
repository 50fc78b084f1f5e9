"""Forward passes as tasks: layers on the GPU, copied there whole, or on the CPU, then the
vocabulary projection. Compiled.
"""

import numpy as np

from sim.engine.compilation import inner, kernel
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action, LayerMode
from sim.step.lowering.emit import (
    emit_cpu_experts,
    emit_early_copies,
    emit_early_runs,
    emit_expert,
    emit_fetched_expert,
    emit_group_launch,
    emit_overhead,
    lane_of,
    last_on,
    move_hidden,
    note_last,
    owner_of,
    set_join,
    wait_for_join,
)
from sim.step.lowering.sheet import (
    CPU,
    GPU,
    H2D,
    IS_SERIAL,
    JOIN_A,
    STEP,
    STREAMED,
    N,
    append,
    wait_for,
)
from sim.step.lowering.shelf import bring_in

_RESIDENT = int(Action.RESIDENT)
_FETCH = int(Action.FETCH)
_SWAP = int(Action.SWAP)
_ON_CPU = int(LayerMode.CPU)
_STREAM = int(LayerMode.STREAM)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_DENSE = int(TaskKind.DENSE_FFN)
_SHARED = int(TaskKind.SHARED_EXPERT)
_EXPERT = int(TaskKind.EXPERT)
_HEAD = int(TaskKind.HEAD)
_LAYER_FETCH = int(TaskKind.LAYER_FETCH)
_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)
_OVERHEAD = int(TaskKind.OVERHEAD)
_NONE = NONE


@inner
def _stream(out, state, ring, duration_ns, num_bytes, layer):
    """Copy a whole layer (or the head) into the next free layer buffer of GPU 0; with one buffer,
    nothing is copied ahead of its turn.
    """
    if ring.shape[1] == 1:
        wait_for_join(out, state)
    wait_for(out, state, ring[0, state[STREAMED] % ring.shape[1]])
    return append(out, state, H2D, duration_ns, _LAYER_FETCH, layer, _NONE, num_bytes)


@inner
def _stream_peers(out, state, sheet, ring, layer):
    """Copy the experts of further GPUs to them; the runs there follow the last of these copies on
    each, which is returned as a number.

    The copies to GPUs 1, 2, … are consecutive tasks.
    """
    first = _NONE
    for owner in range(1, sheet.run[0].num_gpus):
        if ring.shape[1] == 1:
            wait_for_join(out, state)
        wait_for(out, state, ring[owner, state[STREAMED] % ring.shape[1]])
        share = sheet.shares[layer, owner]
        copy = append(
            out,
            state,
            lane_of(sheet, H2D, owner),
            share.fetch,
            _LAYER_FETCH,
            layer,
            _NONE,
            share.num_bytes,
        )
        first = copy if owner == 1 else first
    return first


@inner
def _read_layer(out, state, sheet, ring, layer):
    """Have all experts of a layer in host memory, no sooner than the buffer is free that they go
    to; returns the last read, behind all others in the disk's order.
    """
    after = ring[0, state[STREAMED] % ring.shape[1]]
    read = np.int64(_NONE)
    for expert in range(sheet.tokens.shape[2]):
        read = max(read, bring_in(out, state, sheet, layer, expert, after, 0))
    return read


@inner
def _layer_on_cpu(out, state, sheet, index, layer):
    """Attention, gate, feed-forward and all experts, one after another on the CPU."""
    move_hidden(out, state, sheet, CPU, sheet.passes[index].num_tokens, layer)
    wait_for_join(out, state)
    last = append(out, state, CPU, sheet.work[index, layer].attention, _ATTENTION, layer, _NONE, 0)
    if sheet.layers[layer].is_moe:
        last = append(out, state, CPU, sheet.work[index, layer].gate, _GATE, layer, _NONE, 0)
    if sheet.work[index, layer].ffn > 0:
        last = append(
            out,
            state,
            CPU,
            sheet.work[index, layer].ffn,
            _SHARED if sheet.layers[layer].is_moe else _DENSE,
            layer,
            _NONE,
            0,
        )
    if sheet.layers[layer].is_moe and sheet.run[0].group_cpu > 0:
        last = append(out, state, CPU, sheet.run[0].group_cpu, _OVERHEAD, layer, _NONE, 0)
    shape = sheet.layers[layer].shape
    for expert in range(sheet.tokens.shape[2]):
        tokens = sheet.tokens[index, layer, expert]
        if tokens > 0:
            wait_for(out, state, bring_in(out, state, sheet, layer, expert, last, 0))
            last = append(
                out, state, CPU, sheet.experts[1, shape, tokens], _EXPERT, layer, expert, 0
            )
    set_join(state, last, _NONE)


@inner
def _experts(out, state, sheet, ring, index, layer, gate, streamed, early):
    """The routed experts of a layer whose dense part runs on the GPU; sets the join.

    ``streamed``: the whole layer's copy to GPU 1; ``early``: the first copy of an early expert.
    """
    last_on_cpu, tokens = emit_cpu_experts(
        out, state, sheet, index, layer, gate, range(sheet.tokens.shape[2])
    )
    last = gate
    if sheet.work[index, layer].ffn > 0:
        last = append(out, state, GPU, sheet.work[index, layer].ffn, _SHARED, layer, _NONE, 0)
    emit_group_launch(out, state, sheet, index, layer, gate, range(sheet.tokens.shape[2]))
    if early >= 0:
        last = emit_early_runs(out, state, sheet, ring, index, layer, early, last)
    for expert in range(sheet.tokens.shape[2]):
        if sheet.actions[index, layer, expert] == _RESIDENT:
            owner = owner_of(sheet, layer, expert)
            if owner > 0:
                wait_for(out, state, gate)
                wait_for(out, state, streamed if streamed < 0 else streamed + owner - 1)
            run = emit_expert(out, state, sheet, index, layer, expert, lane_of(sheet, GPU, owner))
            last = note_last(state, owner, run, last)
    for expert in range(sheet.tokens.shape[2]):
        if _FETCH <= sheet.actions[index, layer, expert] <= _SWAP:
            last = emit_fetched_expert(out, state, sheet, ring, index, layer, expert, gate, last)
    back = _NONE
    if last_on_cpu >= 0:
        wait_for(out, state, last_on_cpu)
        back = append(
            out,
            state,
            H2D,
            sheet.activations[0, tokens],
            _ACTIVATIONS,
            layer,
            _NONE,
            tokens * sheet.run[0].activation_bytes,
        )
    set_join(state, last, back)


@inner
def _layer_on_gpu(out, state, sheet, rings, index, layer):
    is_streamed = sheet.work[index, layer].mode == _STREAM
    weights = _NONE
    streamed = _NONE
    if is_streamed:
        share = sheet.shares[layer, 0]
        wait_for(out, state, _read_layer(out, state, sheet, rings[1], layer))
        weights = _stream(out, state, rings[1], share.fetch, share.num_bytes, layer)
        streamed = _stream_peers(out, state, sheet, rings[1], layer)
    early = emit_early_copies(out, state, sheet, rings[0], index, layer)
    move_hidden(out, state, sheet, GPU, sheet.passes[index].num_tokens, layer)
    wait_for_join(out, state)
    wait_for(out, state, weights)
    last = append(out, state, GPU, sheet.work[index, layer].attention, _ATTENTION, layer, _NONE, 0)
    if sheet.layers[layer].is_moe:
        gate = append(out, state, GPU, sheet.work[index, layer].gate, _GATE, layer, _NONE, 0)
        _experts(out, state, sheet, rings[0], index, layer, gate, streamed, early)
    else:
        last = append(out, state, GPU, sheet.work[index, layer].ffn, _DENSE, layer, _NONE, 0)
        set_join(state, last, _NONE)
    if is_streamed:
        for owner in range(sheet.run[0].num_gpus):
            rings[1][owner, state[STREAMED] % rings[1].shape[1]] = last_on(
                state, owner, state[JOIN_A]
            )
        state[STREAMED] += 1


@inner
def emit_head(out, state, sheet, rings, index):
    """The vocabulary projection of each sequence's last position, if this pass ends in one."""
    if sheet.passes[index].head < 0:
        return
    weights = _NONE
    mode = sheet.passes[index].head_mode
    if mode == _STREAM:
        weights = _stream(
            out, state, rings[1], sheet.run[0].head_fetch, sheet.run[0].head_bytes, _NONE
        )
    place = CPU if mode == _ON_CPU else GPU
    move_hidden(out, state, sheet, place, sheet.passes[index].num_sequences, _NONE)
    wait_for_join(out, state)
    wait_for(out, state, weights)
    last = append(out, state, place, sheet.passes[index].head, _HEAD, _NONE, _NONE, 0)
    set_join(state, last, _NONE)
    if mode == _STREAM:
        rings[1][0, state[STREAMED] % rings[1].shape[1]] = last
        state[STREAMED] += 1


@inner
def emit_layer(out, state, sheet, rings, index, layer):
    """All tasks of one layer of a pass."""
    emit_overhead(out, state, sheet.run[0].layer_overhead, layer)
    if sheet.work[index, layer].mode == _ON_CPU:
        _layer_on_cpu(out, state, sheet, index, layer)
    else:
        _layer_on_gpu(out, state, sheet, rings, index, layer)


@inner
def emit_pass(out, state, sheet, rings, index):
    """All tasks of one forward pass."""
    state[IS_SERIAL] = sheet.passes[index].is_serial
    state[STEP] = sheet.passes[index].step
    for layer in range(sheet.work.shape[1]):
        emit_layer(out, state, sheet, rings, index, layer)
    emit_head(out, state, sheet, rings, index)
    emit_overhead(out, state, sheet.run[0].step_overhead, _NONE)


@kernel
def emit_run(out, state, sheet, rings, last_task):
    """All passes of a run; ``last_task`` [pass] gets the task whose end completes each."""
    for index in range(len(sheet.passes)):
        emit_pass(out, state, sheet, rings, index)
        last_task[index] = state[N] - 1
