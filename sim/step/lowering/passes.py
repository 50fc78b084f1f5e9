"""Compiled functions that turn forward passes into tasks.

A layer runs on the GPU, on the GPU after it was copied there whole, or on the CPU. The vocabulary
projection follows.
"""

import numpy as np

from sim.engine.compilation import inner, kernel
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import LayerMode
from sim.step.lowering.crossing import bring_back, send_across
from sim.step.lowering.draft import (
    CPU,
    GPU,
    H2D,
    JOIN_A,
    STREAMED,
    N,
    append,
    append_copy,
    begin_pass,
    lane_of,
    last_on,
    moment_of,
    set_join,
    wait_for,
    wait_for_join,
)
from sim.step.lowering.emit import (
    emit_cpu_experts,
    emit_early_copies,
    emit_expert,
    emit_gpu_experts,
    emit_overhead,
    move_hidden,
    send_up,
)
from sim.step.lowering.shelf import bring_in

_ON_CPU = int(LayerMode.CPU)
_STREAM = int(LayerMode.STREAM)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_DENSE = int(TaskKind.DENSE_FFN)
_SHARED = int(TaskKind.SHARED_EXPERT)
_HEAD = int(TaskKind.HEAD)
_LAYER_FETCH = int(TaskKind.LAYER_FETCH)
_OVERHEAD = int(TaskKind.OVERHEAD)
_NONE = NONE


@inner
def _stream(draft, duration_ns, num_bytes, layer):
    """Copy a whole layer (or the head) into the next free layer buffer of GPU 0; return
    the copy.
    """
    ring = draft.layer_ring
    # With one buffer, nothing is copied ahead of its turn: the layer before runs from that buffer.
    if ring.shape[1] == 1:
        wait_for_join(draft)
    wait_for(draft, ring[0, draft.state[STREAMED] % ring.shape[1]])
    return append_copy(draft, H2D, duration_ns, _LAYER_FETCH, layer, num_bytes)


@inner
def _stream_peers(draft, layer):
    """Copy a streamed layer's experts to further GPUs; return the copy to GPU 1 (NONE: one GPU).

    The copies to GPUs 1, 2, … are consecutive tasks. Runs on a further GPU wait for the copy to it.
    """
    ring = draft.layer_ring
    first = _NONE
    for owner in range(1, draft.sheet.run[0].num_gpus):
        if ring.shape[1] == 1:
            wait_for_join(draft)
        wait_for(draft, ring[owner, draft.state[STREAMED] % ring.shape[1]])
        share = draft.sheet.shares[layer, owner]
        lane = lane_of(draft.sheet, H2D, owner)
        copy = append_copy(draft, lane, share.fetch, _LAYER_FETCH, layer, share.num_bytes)
        first = copy if owner == 1 else first
    return first


@inner
def _read_layer(draft, layer):
    """Have all experts of a layer in host memory; return the last read (NONE: all were there).

    Reads begin no sooner than the buffer that the layer goes to is free. In the disk's order, the
    last read is behind all others.
    """
    after = draft.layer_ring[0, draft.state[STREAMED] % draft.layer_ring.shape[1]]
    read = np.int64(_NONE)
    for expert in range(draft.sheet.tokens.shape[2]):
        read = max(read, bring_in(draft, layer, expert, after, 0))
    return read


@inner
def begin_layer(draft, at):
    """Emit a layer up to its gate.

    The order is overhead, the copy of the whole layer if it is streamed, early copies, attention
    and gate. A layer without experts is emitted whole. Return the gate, the first copy of a
    streamed layer to further GPUs, and the first early copy; NONE where there is none.
    """
    sheet = draft.sheet
    layer = at.layer
    work = sheet.work[at.pass_index, layer]
    place = CPU if work.mode == _ON_CPU else GPU
    emit_overhead(draft, sheet.run[0].layer_overhead, layer)
    weights = _NONE
    streamed = _NONE
    if work.mode == _STREAM:
        share = sheet.shares[layer, 0]
        wait_for(draft, _read_layer(draft, layer))
        weights = _stream(draft, share.fetch, share.num_bytes, layer)
        streamed = _stream_peers(draft, layer)
    early = emit_early_copies(draft, at)
    move_hidden(draft, place, sheet.passes[at.pass_index].num_tokens, layer)
    wait_for_join(draft)
    wait_for(draft, weights)
    last = append(draft, place, work.attention, _ATTENTION, layer)
    if sheet.layers[layer].is_moe:
        return append(draft, place, work.gate, _GATE, layer), streamed, early
    if place == GPU or work.ffn > 0:
        last = append(draft, place, work.ffn, _DENSE, layer)
    set_join(draft, last, _NONE)
    _free_layer(draft, at)
    return _NONE, _NONE, _NONE


@inner
def end_layer(draft, at, gate, streamed, early):
    """Emit what the gate of a layer sets off.

    ``gate``, ``streamed`` and ``early`` are what ``begin_layer`` returned.
    """
    everyone = range(draft.sheet.tokens.shape[2])
    if draft.sheet.work[at.pass_index, at.layer].mode == _ON_CPU:
        _experts_on_cpu(draft, at, gate)
    else:
        # The CPU's part goes first: it lasts longest, and its activations leave as soon as they can.
        last_on_cpu, sent = emit_cpu_experts(draft, at, gate, everyone)
        send_across(draft, at, gate, everyone)
        last = emit_gpu_experts(draft, at, gate, streamed, early)
        set_join(draft, last, send_up(draft, at, last_on_cpu, sent))
        _free_layer(draft, at)
        # Behind the layer's buffers, which are free before the results are back.
        bring_back(draft, at, everyone)


@inner
def _experts_on_cpu(draft, at, gate):
    """Emit the shared and the routed experts of a layer on the CPU, one after another."""
    sheet = draft.sheet
    last = gate
    ffn_ns = sheet.work[at.pass_index, at.layer].ffn
    if ffn_ns > 0:
        last = append(draft, CPU, ffn_ns, _SHARED, at.layer)
    if sheet.run[0].group_cpu > 0:
        last = append(draft, CPU, sheet.run[0].group_cpu, _OVERHEAD, at.layer)
    for expert in range(sheet.tokens.shape[2]):
        if sheet.tokens[at.pass_index, at.layer, expert] > 0:
            wait_for(draft, bring_in(draft, at.layer, expert, last, 0))
            last = emit_expert(draft, at, expert, CPU)
    set_join(draft, last, _NONE)


@inner
def _free_layer(draft, at):
    """Note the last uses of the buffers of a streamed layer, after which the buffers are free."""
    sheet = draft.sheet
    if sheet.work[at.pass_index, at.layer].mode == _STREAM:
        ring = draft.layer_ring
        for owner in range(sheet.run[0].num_gpus):
            last_use = last_on(draft, owner, draft.state[JOIN_A])
            ring[owner, draft.state[STREAMED] % ring.shape[1]] = last_use
        draft.state[STREAMED] += 1


@inner
def emit_head(draft, index):
    """Emit the vocabulary projection of each sequence's last position, if the pass has one."""
    sheet = draft.sheet
    fed = sheet.passes[index]
    if fed.head < 0:
        return
    weights = _NONE
    mode = fed.head_mode
    if mode == _STREAM:
        weights = _stream(draft, sheet.run[0].head_fetch, sheet.run[0].head_bytes, _NONE)
    place = CPU if mode == _ON_CPU else GPU
    move_hidden(draft, place, fed.num_sequences, _NONE)
    wait_for_join(draft)
    wait_for(draft, weights)
    last = append(draft, place, fed.head, _HEAD, _NONE)
    set_join(draft, last, _NONE)
    if mode == _STREAM:
        ring = draft.layer_ring
        ring[0, draft.state[STREAMED] % ring.shape[1]] = last
        draft.state[STREAMED] += 1


@inner
def emit_layer(draft, at):
    """Emit all tasks of one layer of a pass."""
    gate, streamed, early = begin_layer(draft, at)
    if gate >= 0:
        end_layer(draft, at, gate, streamed, early)


@inner
def end_pass(draft, index):
    """Emit what follows the last layer of a pass; note the task that ends the pass."""
    emit_head(draft, index)
    emit_overhead(draft, draft.sheet.run[0].step_overhead, _NONE)
    draft.last_task[index] = draft.state[N] - 1


@kernel
def emit_run(draft):
    """Emit all passes of a run."""
    for index in range(len(draft.sheet.passes)):
        begin_pass(draft, index)
        for layer in range(draft.sheet.work.shape[1]):
            emit_layer(draft, moment_of(draft.sheet, index, layer))
        end_pass(draft, index)
