"""Layers pipelined over micro-batches: compiled, one group of micro-batches after another.

In every layer each micro-batch has two halves. If the CPU attends, the first half is the products
before attention, queries down, attention on the CPU, and its sums up. The second half is the
products after attention, or the whole attention on the GPU, then the gate and the experts. The GPU
takes the halves in turn, as MoE-Lightning's CGOPipe does (arXiv 2411.11217). First halves are two
micro-batches ahead of second halves, across layers too. Meanwhile pages of a later layer's weights
are copied, into as many buffers as there are. Activations go before pages, at the borders of pages.
A group ends in one vocabulary projection.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import kernel, part
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action
from sim.step.lowering.draft import (
    CPU,
    D2H,
    GPU,
    H2D,
    JOIN_A,
    JOIN_B,
    STEP,
    N,
    append,
    append_copy,
    begin_pass,
    moment_of,
    set_join,
    wait_for,
)
from sim.step.lowering.emit import (
    emit_cpu_experts,
    emit_expert,
    emit_group_launch,
    emit_overhead,
    emit_shared,
    send_up,
)
from sim.step.lowering.passes import emit_head

AHEAD = 2
"""How many micro-batches first halves are ahead of second halves."""
IS_BEGUN, NUM_GROUPS, PAGED_UNITS, USED_UNITS = range(4)
"""Places in the ``progress`` of a Flow.

IS_BEGUN says whether the first pages are emitted. NUM_GROUPS is the number of groups to emit now.
PAGED_UNITS and USED_UNITS are the units (one layer of one group) paged and used so far.
"""

_RESIDENT = int(Action.RESIDENT)
_PAGED = int(Action.PAGED)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_DENSE = int(TaskKind.DENSE_FFN)
_PROJECTION = int(TaskKind.PROJECTION)
_PAGE = int(TaskKind.PAGE)
_KV = int(TaskKind.KV_COPY)
_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)
_NONE = NONE


class Flow(NamedTuple):
    """What pipelined layers need besides a draft.

    ``pipe`` [pass, layer] of PIPE are their prices. The passes of group g, one for each
    micro-batch, are those from ``firsts[g]`` up to ``firsts[g + 1]``. ``ends`` [micro-batch, 2] are
    the tasks that each micro-batch waits for. ``last_use`` and ``last_page`` [buffer] are the last
    use and the last page of each buffer. ``progress`` has the numbers above. Groups after those to
    be emitted are known for their pages, which are copied before the groups.
    """

    pipe: NDArray[np.void]
    firsts: NDArray[np.int64]
    ends: NDArray[np.int64]
    last_use: NDArray[np.int64]
    last_page: NDArray[np.int64]
    progress: NDArray[np.int64]


@part
def _emit_pages(draft, flow, unit, num_paged):
    """Copy what a unit misses into the next buffer, page by page; return the units paged so far.

    A unit is numbered group · layers + layer.
    """
    pipe = flow.pipe
    group = unit // pipe.shape[1]
    layer = unit % pipe.shape[1]
    is_over = group >= len(flow.firsts) - 1
    if is_over or pipe[flow.firsts[group + 1] - 1, layer].page_bytes == 0:
        return num_paged
    first = flow.firsts[group]
    slot = num_paged % len(flow.last_use)
    step = draft.state[STEP]
    # Pages bear the step that needs them, which may be the one after this.
    draft.state[STEP] = draft.sheet.passes[first].step
    for index in range(first, flow.firsts[group + 1]):
        work = pipe[index, layer]
        if work.page_bytes > 0:
            wait_for(draft, flow.last_use[slot])
            page = append_copy(draft, H2D, work.page, _PAGE, layer, work.page_bytes)
            flow.last_page[slot] = page
    draft.state[STEP] = step
    return num_paged + 1


@part
def _first_half(draft, flow, at, place):
    """Emit the first half of a layer for the micro-batch at ``place`` of its group.

    The first micro-batch begins with the host overhead. If the CPU attends, all tasks up to the
    copy of its sums follow.
    """
    ends = flow.ends[place]
    layer = at.layer
    # The group goes through a layer together, so that the host's time for it is spent once.
    if place == 0 and draft.sheet.run[0].layer_overhead > 0:
        set_join(draft, ends[0], ends[1])
        emit_overhead(draft, draft.sheet.run[0].layer_overhead, layer)
        ends[0] = draft.state[JOIN_A]
        ends[1] = _NONE
    work = flow.pipe[at.pass_index, layer]
    if work.is_split == 0:
        return
    wait_for(draft, ends[0])
    wait_for(draft, ends[1])
    wait_for(draft, append(draft, GPU, work.before, _PROJECTION, layer))
    wait_for(draft, append_copy(draft, D2H, work.down, _ACTIVATIONS, layer, work.down_bytes))
    wait_for(draft, append(draft, CPU, work.core, _ATTENTION, layer))
    ends[0] = append_copy(draft, H2D, work.up, _ACTIVATIONS, layer, work.up_bytes)
    ends[1] = _NONE


@part
def _second_half(draft, flow, at, place, page):
    """Emit the second half of a layer for the micro-batch at ``place`` of its group.

    Experts that were paged wait for their last ``page``.
    """
    sheet = draft.sheet
    layer = at.layer
    ends = flow.ends[place]
    work = flow.pipe[at.pass_index, layer]
    own = sheet.work[at.pass_index, layer]
    wait_for(draft, ends[0])
    wait_for(draft, ends[1])
    if work.is_split == 1:
        last = append(draft, GPU, work.after, _PROJECTION, layer)
    else:
        last = append(draft, GPU, own.attention, _ATTENTION, layer)
    if work.kv_bytes > 0:
        wait_for(draft, last)
        append_copy(draft, D2H, work.kv, _KV, layer, work.kv_bytes)
    if not sheet.layers[layer].is_moe:
        ends[0] = append(draft, GPU, own.ffn, _DENSE, layer)
        ends[1] = _NONE
        return
    gate = append(draft, GPU, own.gate, _GATE, layer)
    everyone = range(sheet.tokens.shape[2])
    last_on_cpu, tokens = emit_cpu_experts(draft, at, gate, everyone)
    last = emit_shared(draft, at, gate)
    emit_group_launch(draft, at, gate, everyone)
    # Residents first: they run while the last pages come.
    for wanted in (_RESIDENT, _PAGED):
        for expert in everyone:
            if sheet.actions[at.pass_index, layer, expert] == wanted:
                wait_for(draft, page if wanted == _PAGED else _NONE)
                last = emit_expert(draft, at, expert, GPU)
    ends[0] = last
    ends[1] = send_up(draft, at, last_on_cpu, tokens)


@part
def _emit_group(draft, flow, group, emitted, used):
    """Emit all layers of one group of micro-batches; return the units paged and used so far."""
    pipe = flow.pipe
    ends = flow.ends
    last_use = flow.last_use
    num_layers = pipe.shape[1]
    first = flow.firsts[group]
    size = flow.firsts[group + 1] - first
    begin_pass(draft, first)
    ahead = min(AHEAD, size)
    turns = size * num_layers
    ends[:size, 0] = draft.state[JOIN_A]
    ends[:size, 1] = draft.state[JOIN_B]
    for turn in range(ahead):
        _first_half(draft, flow, moment_of(draft.sheet, first + turn, 0), turn)
    for turn in range(turns):
        layer = turn // size
        place = turn % size
        if place == 0:
            unit = group * num_layers + layer + len(last_use) - 1
            emitted = _emit_pages(draft, flow, unit, emitted)
        page = flow.last_page[used % len(last_use)]
        _second_half(draft, flow, moment_of(draft.sheet, first + place, layer), place, page)
        # The last micro-batch ends in order on the GPU, and so frees the buffer for all of them.
        if place == size - 1 and pipe[first + place, layer].page_bytes > 0:
            last_use[used % len(last_use)] = ends[place, 0]
            used += 1
        if turn + ahead < turns:
            later = turn + ahead
            at = moment_of(draft.sheet, first + later % size, later // size)
            _first_half(draft, flow, at, later % size)
    for place in range(size - 1):
        wait_for(draft, ends[place, 1])
    set_join(draft, ends[size - 1, 0], ends[size - 1, 1])
    return emitted, used


@kernel
def emit_pipelined_run(draft, flow):
    """Emit the passes that are to be emitted now, group by group.

    ``last_task`` of a pass is the last task of its group.
    """
    progress = flow.progress
    emitted = progress[PAGED_UNITS]
    used = progress[USED_UNITS]
    if progress[IS_BEGUN] == 0:
        # Pages are a buffer ahead of their use, so that the first ones come before any layer.
        for unit in range(len(flow.last_use) - 1):
            emitted = _emit_pages(draft, flow, unit, emitted)
    for group in range(progress[NUM_GROUPS]):
        emitted, used = _emit_group(draft, flow, group, emitted, used)
        first = flow.firsts[group]
        following = flow.firsts[group + 1]
        emit_head(draft, following - 1)
        emit_overhead(draft, draft.sheet.run[0].step_overhead, _NONE)
        draft.last_task[first:following] = draft.state[N] - 1
    progress[IS_BEGUN] = 1
    progress[PAGED_UNITS] = emitted
    progress[USED_UNITS] = used
