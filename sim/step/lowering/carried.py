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
from sim.step.lowering.draft import (
    CPU,
    GPU,
    H2D,
    append,
    append_activations,
    begin_pass,
    moment_of,
    set_join,
    wait_for,
    wait_for_join,
)
from sim.step.lowering.emit import (
    count_sent,
    emit_expert,
    emit_fetched_expert,
    emit_group_launch,
    emit_overhead,
    emit_shared,
    move_hidden,
    send_down,
)
from sim.step.lowering.passes import emit_layer, end_pass
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
_OVERHEAD = int(TaskKind.OVERHEAD)
_NONE = NONE


@inner
def _tokens_of(sheet, at, action):
    """Tokens of the experts of a layer with that action."""
    found = 0
    for expert in range(sheet.tokens.shape[2]):
        if sheet.actions[at.pass_index, at.layer, expert] == action:
            found += sheet.tokens[at.pass_index, at.layer, expert]
    return found


@inner
def _run_on_cpu(draft, at, action, sent, last):
    """The experts of a layer with that action, on the CPU once activations are there; returns the
    last, ``last`` if there is none.

    Where experts run in groups, these are one call.
    """
    sheet = draft.sheet
    if sheet.run[0].group_cpu > 0 and _tokens_of(sheet, at, action) > 0:
        wait_for(draft, sent)
        append(draft, CPU, sheet.run[0].group_cpu, _OVERHEAD, at.layer)
    for expert in range(sheet.tokens.shape[2]):
        if sheet.actions[at.pass_index, at.layer, expert] == action:
            read = bring_in(draft, at.layer, expert, sent, 0)
            wait_for(draft, sent)
            wait_for(draft, read)
            last = emit_expert(draft, at, expert, CPU)
    return last


@inner
def _is_next_foretold(foretold, at):
    """Whether there is a next layer, and its gate runs in this one."""
    return at.layer + 1 < foretold.shape[1] and foretold[at.pass_index, at.layer + 1]


@inner
def _gates(draft, foretold, at):
    """The layer's gate, and the next one's where that is foretold; returns what its experts wait
    for.
    """
    work = draft.sheet.work
    last = append(draft, GPU, work[at.pass_index, at.layer].attention, _ATTENTION, at.layer)
    if not foretold[at.pass_index, at.layer]:
        last = append(draft, GPU, work[at.pass_index, at.layer].gate, _GATE, at.layer)
    if _is_next_foretold(foretold, at):
        last = append(draft, GPU, work[at.pass_index, at.layer + 1].gate, _GATE, at.layer + 1)
    return last


@inner
def _layer(draft, foretold, at, pending, awaited):
    """One MoE layer on the GPU that joins ``pending`` (the last carried task, of ``awaited``
    tokens); returns what it carries on.
    """
    sheet = draft.sheet
    actions = sheet.actions[at.pass_index, at.layer]
    move_hidden(draft, GPU, sheet.passes[at.pass_index].num_tokens, at.layer)
    wait_for_join(draft)
    gate = _gates(draft, foretold, at)
    following = moment_of(sheet, at.pass_index, at.layer + 1)
    is_ahead = _is_next_foretold(foretold, at)
    own = _tokens_of(sheet, at, _ON_CPU)
    carried = _tokens_of(sheet, at, _DEFERRED)
    carried += _tokens_of(sheet, following, _AHEAD) if is_ahead else 0
    last_on_cpu = _NONE
    last_carried = _NONE
    hands_over = sheet.run[0].hand_over > 0
    if own + carried > 0 or hands_over:
        sent, _ = send_down(draft, at, gate, own + carried)
        # The CPU first takes what this layer waits for; what is carried has until the next join.
        last_on_cpu = _run_on_cpu(draft, at, _ON_CPU, sent, sent if hands_over else _NONE)
        last_carried = _run_on_cpu(draft, at, _DEFERRED, sent, _NONE)
        if is_ahead:
            last_carried = _run_on_cpu(draft, following, _AHEAD, sent, last_carried)
    last = emit_shared(draft, at, gate)
    emit_group_launch(draft, at, gate, range(sheet.tokens.shape[2]))
    for expert in range(sheet.tokens.shape[2]):
        if actions[expert] == _RESIDENT:
            last = emit_expert(draft, at, expert, GPU)
    for expert in range(sheet.tokens.shape[2]):
        if _FETCH <= actions[expert] <= _SWAP:
            last = emit_fetched_expert(draft, at, expert, gate, last)
    back = _NONE
    if own + awaited > 0 or hands_over:
        wait_for(draft, last_on_cpu)
        wait_for(draft, pending)
        back = append_activations(draft, H2D, count_sent(draft, at, own + awaited), at.layer)
    set_join(draft, last, back)
    return last_carried, carried


@kernel
def emit_carried_run(draft, foretold):
    """All passes of a run; ``foretold`` [pass, layer] marks layers whose gate ran in the layer
    before.
    """
    sheet = draft.sheet
    for index in range(len(sheet.passes)):
        begin_pass(draft, index)
        pending = _NONE
        awaited = 0
        for layer in range(sheet.work.shape[1]):
            at = moment_of(sheet, index, layer)
            if sheet.work[index, layer].mode == _ON_GPU and sheet.layers[layer].is_moe:
                emit_overhead(draft, sheet.run[0].layer_overhead, layer)
                pending, awaited = _layer(draft, foretold, at, pending, awaited)
            else:
                emit_layer(draft, at)
        end_pass(draft, index)
