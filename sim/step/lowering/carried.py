"""CPU experts that start in one layer and are joined in the next: compiled, one pass after another.

DEFERRED experts belong to the layer that starts them, and their result is added one layer late.
AHEAD experts belong to the layer that joins them: the layer before predicted them, with that
layer's gate on its own hidden state, so a foretold layer runs no gate of its own. The CPU takes the
experts that its layer waits for first. What is carried returns with the activations of the layer
that joins it.
"""

from sim.engine.compilation import inner, kernel
from sim.engine.task import NONE, TaskKind
from sim.policies.actions import Action, LayerMode
from sim.step.lowering.emit import (
    emit_expert,
    emit_fetched_expert,
    emit_group_launch,
    emit_overhead,
    move_hidden,
    send_down,
    set_join,
    wait_for_join,
)
from sim.step.lowering.passes import emit_head, emit_layer
from sim.step.lowering.sheet import (
    CPU,
    GPU,
    H2D,
    IS_SERIAL,
    STEP,
    N,
    append,
    wait_for,
)
from sim.step.lowering.shelf import bring_in

_ON_CPU = int(Action.CPU)
_DEFERRED = int(Action.DEFERRED)
_AHEAD = int(Action.AHEAD)
_RESIDENT = int(Action.RESIDENT)
_FETCH = int(Action.FETCH)
_SWAP = int(Action.SWAP)
_ON_GPU = int(LayerMode.GPU)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_SHARED = int(TaskKind.SHARED_EXPERT)
_ACTIVATIONS = int(TaskKind.ACTIVATION_COPY)
_OVERHEAD = int(TaskKind.OVERHEAD)
_NONE = NONE


@inner
def _tokens_of(sheet, index, layer, action):
    """Tokens of the experts of a layer with that action."""
    found = 0
    for expert in range(sheet.tokens.shape[2]):
        if sheet.actions[index, layer, expert] == action:
            found += sheet.tokens[index, layer, expert]
    return found


@inner
def _run_on_cpu(out, state, sheet, index, layer, action, sent, last):
    """The experts of a layer with that action, on the CPU once activations are there; returns the
    last, ``last`` if there is none.

    Where experts run in groups, these are one call.
    """
    if sheet.run[0].group_cpu > 0 and _tokens_of(sheet, index, layer, action) > 0:
        wait_for(out, state, sent)
        append(out, state, CPU, sheet.run[0].group_cpu, _OVERHEAD, layer, _NONE, 0)
    for expert in range(sheet.tokens.shape[2]):
        if sheet.actions[index, layer, expert] == action:
            read = bring_in(out, state, sheet, layer, expert, sent, 0)
            wait_for(out, state, sent)
            wait_for(out, state, read)
            last = emit_expert(out, state, sheet, index, layer, expert, CPU)
    return last


@inner
def _send_up(out, state, sheet, index, tokens, layer):
    """Hidden states of those tokens to the GPU, of all that the pass feeds where every layer hands
    over.
    """
    count = sheet.passes[index].num_tokens
    if sheet.run[0].hand_over == 0:
        count = min(tokens, count)
    return append(
        out,
        state,
        H2D,
        sheet.activations[0, count],
        _ACTIVATIONS,
        layer,
        _NONE,
        count * sheet.run[0].activation_bytes,
    )


@inner
def _gates(out, state, sheet, foretold, index, layer):
    """The layer's gate, and the next one's where that is foretold; returns what its experts wait
    for.
    """
    last = append(out, state, GPU, sheet.work[index, layer].attention, _ATTENTION, layer, _NONE, 0)
    if not foretold[index, layer]:
        last = append(out, state, GPU, sheet.work[index, layer].gate, _GATE, layer, _NONE, 0)
    if layer + 1 < foretold.shape[1] and foretold[index, layer + 1]:
        last = append(
            out, state, GPU, sheet.work[index, layer + 1].gate, _GATE, layer + 1, _NONE, 0
        )
    return last


@inner
def _layer(out, state, sheet, ring, foretold, index, layer, pending, awaited):
    """One MoE layer on the GPU that joins ``pending`` (the last carried task, of ``awaited``
    tokens); returns what it carries on.
    """
    move_hidden(out, state, sheet, GPU, sheet.passes[index].num_tokens, layer)
    wait_for_join(out, state)
    gate = _gates(out, state, sheet, foretold, index, layer)
    ahead = layer + 1 if layer + 1 < foretold.shape[1] and foretold[index, layer + 1] else layer
    own = _tokens_of(sheet, index, layer, _ON_CPU)
    carried = _tokens_of(sheet, index, layer, _DEFERRED)
    carried += _tokens_of(sheet, index, ahead, _AHEAD) if ahead > layer else 0
    sent = _NONE
    last_on_cpu = _NONE
    last_carried = _NONE
    hands_over = sheet.run[0].hand_over > 0
    if own + carried > 0 or hands_over:
        sent, _ = send_down(out, state, sheet, index, layer, gate, own + carried)
        last_on_cpu = _run_on_cpu(
            out, state, sheet, index, layer, _ON_CPU, sent, sent if hands_over else _NONE
        )
        last_carried = _run_on_cpu(out, state, sheet, index, layer, _DEFERRED, sent, _NONE)
        if ahead > layer:
            last_carried = _run_on_cpu(out, state, sheet, index, ahead, _AHEAD, sent, last_carried)
    last = gate
    if sheet.work[index, layer].ffn > 0:
        last = append(out, state, GPU, sheet.work[index, layer].ffn, _SHARED, layer, _NONE, 0)
    emit_group_launch(out, state, sheet, index, layer, gate, range(sheet.tokens.shape[2]))
    for expert in range(sheet.tokens.shape[2]):
        if sheet.actions[index, layer, expert] == _RESIDENT:
            last = emit_expert(out, state, sheet, index, layer, expert, GPU)
    for expert in range(sheet.tokens.shape[2]):
        if _FETCH <= sheet.actions[index, layer, expert] <= _SWAP:
            last = emit_fetched_expert(out, state, sheet, ring, index, layer, expert, gate, last)
    back = _NONE
    if own + awaited > 0 or hands_over:
        wait_for(out, state, last_on_cpu)
        wait_for(out, state, pending)
        back = _send_up(out, state, sheet, index, own + awaited, layer)
    set_join(state, last, back)
    return last_carried, carried


@kernel
def emit_carried_run(out, state, sheet, rings, last_task, foretold):
    """All passes of a run; ``foretold`` [pass, layer] marks layers whose gate ran in the layer
    before; ``last_task`` as in ``emit_run``.
    """
    for index in range(len(sheet.passes)):
        state[IS_SERIAL], state[STEP] = sheet.passes[index].is_serial, sheet.passes[index].step
        pending = _NONE
        awaited = 0
        for layer in range(sheet.work.shape[1]):
            if sheet.work[index, layer].mode == _ON_GPU and sheet.layers[layer].is_moe:
                emit_overhead(out, state, sheet.run[0].layer_overhead, layer)
                pending, awaited = _layer(
                    out, state, sheet, rings[0], foretold, index, layer, pending, awaited
                )
            else:
                emit_layer(out, state, sheet, rings, index, layer)
        emit_head(out, state, sheet, rings, index)
        emit_overhead(out, state, sheet.run[0].step_overhead, _NONE)
        last_task[index] = state[N] - 1
