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
    emit_gpu_experts,
    emit_overhead,
    move_hidden,
    run_on_cpu,
    send_down,
    tokens_of,
)
from sim.step.lowering.passes import emit_layer, end_pass

_ON_CPU = int(Action.CPU)
_DEFERRED = int(Action.DEFERRED)
_AHEAD = int(Action.AHEAD)
_ON_GPU = int(LayerMode.GPU)
_ATTENTION = int(TaskKind.ATTENTION)
_GATE = int(TaskKind.GATE)
_NONE = NONE


@inner
def _is_next_foretold(foretold, at):
    """Whether there is a next layer, and its gate runs in this one."""
    return at.layer + 1 < foretold.shape[1] and foretold[at.pass_index, at.layer + 1]


@inner
def _gates(draft, foretold, at):
    """Emit attention, the layer's gate and, if the next layer is foretold, the next layer's gate.

    A foretold layer has no gate of its own. Return the last task, which the layer's experts wait
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
    """Emit one MoE layer on the GPU; return the last task and the number of tokens that it carries
    on.

    The layer joins ``pending``, the last task that the layer before carried, of ``awaited`` tokens.
    """
    sheet = draft.sheet
    everyone = range(sheet.tokens.shape[2])
    move_hidden(draft, GPU, sheet.passes[at.pass_index].num_tokens, at.layer)
    wait_for_join(draft)
    gate = _gates(draft, foretold, at)
    following = moment_of(sheet, at.pass_index, at.layer + 1)
    is_ahead = _is_next_foretold(foretold, at)
    own = tokens_of(sheet, at, _ON_CPU, everyone)
    carried = tokens_of(sheet, at, _DEFERRED, everyone)
    carried += tokens_of(sheet, following, _AHEAD, everyone) if is_ahead else 0
    last_on_cpu = _NONE
    last_carried = _NONE
    hands_over = sheet.run[0].hand_over > 0
    if own + carried > 0 or hands_over:
        sent, _ = send_down(draft, at, gate, own + carried)
        # The CPU first takes what this layer waits for; what is carried has until the next join.
        ready = (sent, sent)
        handed_over = sent if hands_over else _NONE
        last_on_cpu = run_on_cpu(draft, at, _ON_CPU, everyone, ready, handed_over)
        last_carried = run_on_cpu(draft, at, _DEFERRED, everyone, ready, _NONE)
        if is_ahead:
            last_carried = run_on_cpu(draft, following, _AHEAD, everyone, ready, last_carried)
    last = emit_gpu_experts(draft, at, gate, _NONE, _NONE)
    back = _NONE
    if own + awaited > 0 or hands_over:
        wait_for(draft, last_on_cpu)
        wait_for(draft, pending)
        back = append_activations(draft, H2D, count_sent(draft, at, own + awaited), at.layer)
    set_join(draft, last, back)
    return last_carried, carried


@kernel
def emit_carried_run(draft, foretold):
    """Emit all passes of a run.

    ``foretold`` [pass, layer] marks the layers whose gate runs in the layer before.
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
