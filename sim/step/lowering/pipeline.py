"""Layers pipelined over micro-batches: compiled, one group of micro-batches after another.

In every layer each micro-batch has a first half (where the CPU attends: products before, queries
down, attention on the CPU, sums up) and a second (products behind, or the whole attention on the
GPU; gate, experts). The GPU takes them in turn, the first half two micro-batches ahead of the
second, across layers too, as MoE-Lightning's CGOPipe does (arXiv 2411.11217). Meanwhile pages of a
later layer's weights are copied, into as many buffers as there are; activations go before pages, at
their borders. A group ends in one vocabulary projection.
"""

from sim.engine.compilation import kernel, part
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action
from sim.step.lowering.emit import (
    emit_cpu_experts,
    emit_expert,
    emit_group_launch,
    emit_overhead,
    set_join,
)
from sim.step.lowering.passes import emit_head
from sim.step.lowering.sheet import (
    CPU,
    D2H,
    GPU,
    H2D,
    IS_SERIAL,
    JOIN_A,
    JOIN_B,
    STEP,
    N,
    append,
    wait_for,
)

AHEAD = 2
"""How many micro-batches the first halves are ahead of the second."""

_RESIDENT = int(Action.RESIDENT)
_PAGED = int(Action.PAGED)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_DENSE = int(TaskKind.DENSE_FFN)
_SHARED = int(TaskKind.SHARED_EXPERT)
_PROJECTION = int(TaskKind.PROJECTION)
_PAGE = int(TaskKind.PAGE)
_KV = int(TaskKind.KV_COPY)
_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)
_NONE = NONE


@part
def _emit_pages(out, state, sheet, pipe, firsts, unit, last_use, last_page, num_paged):
    """Copy what a unit (group · layers + layer) misses into the next buffer, page by page; returns
    how many units were paged so far.

    Pages bear the step that needs them, which may be the one after this.
    """
    group = unit // pipe.shape[1]
    layer = unit % pipe.shape[1]
    if group >= len(firsts) - 1 or pipe[firsts[group + 1] - 1, layer].page_bytes == 0:
        return num_paged
    slot = num_paged % len(last_use)
    step = state[STEP]
    state[STEP] = sheet.passes[firsts[group]].step
    for index in range(firsts[group], firsts[group + 1]):
        if pipe[index, layer].page_bytes > 0:
            wait_for(out, state, last_use[slot])
            last_page[slot] = append(
                out,
                state,
                H2D,
                pipe[index, layer].page,
                _PAGE,
                layer,
                _NONE,
                pipe[index, layer].page_bytes,
            )
    state[STEP] = step
    return num_paged + 1


@part
def _first_half(out, state, sheet, pipe, ends, index, place, layer):
    """Host overhead before a group's first micro-batch; where the CPU attends, everything up to
    what comes back from it.
    """
    if place == 0 and sheet.run[0].layer_overhead > 0:
        set_join(state, ends[place, 0], ends[place, 1])
        emit_overhead(out, state, sheet.run[0].layer_overhead, layer)
        ends[place, 0] = state[JOIN_A]
        ends[place, 1] = _NONE
    work = pipe[index, layer]
    if work.is_split == 0:
        return
    wait_for(out, state, ends[place, 0])
    wait_for(out, state, ends[place, 1])
    wait_for(out, state, append(out, state, GPU, work.before, _PROJECTION, layer, _NONE, 0))
    wait_for(
        out, state, append(out, state, D2H, work.down, _ACTIVATIONS, layer, _NONE, work.down_bytes)
    )
    wait_for(out, state, append(out, state, CPU, work.core, _ATTENTION, layer, _NONE, 0))
    ends[place, 0] = append(out, state, H2D, work.up, _ACTIVATIONS, layer, _NONE, work.up_bytes)
    ends[place, 1] = _NONE


@part
def _second_half(out, state, sheet, pipe, ends, index, place, layer, page):
    """From the attention's result (or the attention itself) to the layer's end; experts that were
    paged wait for their last page.
    """
    work = pipe[index, layer]
    wait_for(out, state, ends[place, 0])
    wait_for(out, state, ends[place, 1])
    if work.is_split == 1:
        last = append(out, state, GPU, work.after, _PROJECTION, layer, _NONE, 0)
    else:
        last = append(
            out, state, GPU, sheet.work[index, layer].attention, _ATTENTION, layer, _NONE, 0
        )
    if work.kv_bytes > 0:
        wait_for(out, state, last)
        append(out, state, D2H, work.kv, _KV, layer, _NONE, work.kv_bytes)
    if not sheet.layers[layer].is_moe:
        ends[place, 0] = append(
            out, state, GPU, sheet.work[index, layer].ffn, _DENSE, layer, _NONE, 0
        )
        ends[place, 1] = _NONE
        return
    gate = append(out, state, GPU, sheet.work[index, layer].gate, _GATE, layer, _NONE, 0)
    last_on_cpu, tokens = emit_cpu_experts(
        out, state, sheet, index, layer, gate, range(sheet.tokens.shape[2])
    )
    last = gate
    if sheet.work[index, layer].ffn > 0:
        last = append(out, state, GPU, sheet.work[index, layer].ffn, _SHARED, layer, _NONE, 0)
    emit_group_launch(out, state, sheet, index, layer, gate, range(sheet.tokens.shape[2]))
    for wanted in (_RESIDENT, _PAGED):
        for expert in range(sheet.tokens.shape[2]):
            if sheet.actions[index, layer, expert] == wanted:
                wait_for(out, state, page if wanted == _PAGED else _NONE)
                last = emit_expert(out, state, sheet, index, layer, expert, GPU)
    back = _NONE
    if last_on_cpu >= 0:
        wait_for(out, state, last_on_cpu)
        num_bytes = tokens * sheet.run[0].activation_bytes
        back = append(
            out, state, H2D, sheet.activations[0, tokens], _ACTIVATIONS, layer, _NONE, num_bytes
        )
    ends[place, 0] = last
    ends[place, 1] = back


@kernel
def emit_pipelined_run(out, state, sheet, rings, pipe, firsts, ends, buffers, last_task):
    """All passes of a run, grouped from ``firsts`` [group] on (its last entry: how many there are).

    Working room: ``ends`` [micro-batch, 2], what each waits for; ``buffers`` [2, buffer], the last
    use and the last page of each. ``last_task`` as in ``emit_run``.
    """
    num_layers = pipe.shape[1]
    emitted = 0
    used = 0
    last_use = buffers[0]
    last_page = buffers[1]
    for unit in range(len(last_use) - 1):
        emitted = _emit_pages(out, state, sheet, pipe, firsts, unit, last_use, last_page, emitted)
    for group in range(len(firsts) - 1):
        first = firsts[group]
        size = firsts[group + 1] - firsts[group]
        state[IS_SERIAL], state[STEP] = sheet.passes[first].is_serial, sheet.passes[first].step
        ahead = min(AHEAD, size)
        turns = size * num_layers
        ends[:size, 0], ends[:size, 1] = state[JOIN_A], state[JOIN_B]
        for turn in range(ahead):
            _first_half(out, state, sheet, pipe, ends, first + turn, turn, 0)
        for turn in range(turns):
            layer = turn // size
            place = turn % size
            if place == 0:
                emitted = _emit_pages(
                    out,
                    state,
                    sheet,
                    pipe,
                    firsts,
                    group * num_layers + layer + len(last_use) - 1,
                    last_use,
                    last_page,
                    emitted,
                )
            page = last_page[used % len(last_use)]
            _second_half(out, state, sheet, pipe, ends, first + place, place, layer, page)
            if place == size - 1 and pipe[first + place, layer].page_bytes > 0:
                last_use[used % len(last_use)] = ends[place, 0]
                used += 1
            if turn + ahead < turns:
                later = turn + ahead
                _first_half(
                    out, state, sheet, pipe, ends, first + later % size, later % size, later // size
                )
        for place in range(size - 1):
            wait_for(out, state, ends[place, 1])
        set_join(state, ends[size - 1, 0], ends[size - 1, 1])
        emit_head(out, state, sheet, rings, first + size - 1)
        emit_overhead(out, state, sheet.run[0].step_overhead, _NONE)
        last_task[first : first + size] = state[N] - 1
