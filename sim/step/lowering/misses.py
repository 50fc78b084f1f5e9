"""The actions of experts if residents never change: hits, and what the rule says about misses."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel, inner, part
from sim.policies.actions import Action
from sim.policies.dispatch.rule import Rule
from sim.step.lowering.early import begun
from sim.step.rules.around import LINK_BUSY, ON_GPU, Around, Beside, LayerCase
from sim.step.rules.spill_notes import (
    Alike,
    SpillNotes,
    open_notes,
    spill_as_noted,
    write_note,
)
from sim.step.rules.spilling import ROOM, spill_row
from sim.step.rules.split import find_selected, split_row

_RESIDENT = int(Action.RESIDENT)
_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)
_EARLY = int(Action.EARLY)
_FETCHING = int(Rule.FETCH)
_SPILL = int(Rule.SPILL)


class Weighing(NamedTuple):
    """What a dispatch rule knows of a run.

    ``rule`` is of Rule, and ``shape_of`` [layer] are the layers' shapes. ``believed`` is the ns of
    experts [CPU, copy, GPU; layer shape; tokens]. ``beside`` is what the experts run beside.
    ``most_alike`` is the largest number of selected experts for which spills are noted.
    """

    rule: int
    shape_of: NDArray[np.int64]
    believed: NDArray[np.int64]
    beside: Around
    most_alike: int


class Desk(NamedTuple):
    """Working room of ``decide_misses``, and the ``notes`` of spills.

    ``is_miss`` and ``is_held`` are [expert], ``places`` [expert + 1], ``priced`` [3, expert] and
    ``room`` [ROOM, expert].
    """

    is_miss: NDArray[np.bool_]
    is_held: NDArray[np.bool_]
    places: NDArray[np.int64]
    priced: NDArray[np.int64]
    room: NDArray[np.int64]
    notes: SpillNotes


@part
def _decide_alike(tokens, experts_LE, missing, early, actions):
    """Fill ``actions`` [pass, layer, expert] if every miss gets the action ``missing``."""
    has_early = early.experts.shape[0] > 0
    for index in range(actions.shape[0]):
        for layer in range(actions.shape[1]):
            for expert in range(actions.shape[2]):
                chosen = _RESIDENT if experts_LE[layer, expert] else missing
                if has_early and early.experts[index, layer, expert]:
                    chosen = _EARLY
                actions[index, layer, expert] = chosen if tokens[index, layer, expert] > 0 else 0


@part
def _look_up(case, is_there, believed, chosen):
    """Mark and price a layer's selected experts; return the number of misses and the residents'
    time.

    The time is the GPU's, in ns. ``believed`` is ns [CPU, copy, GPU; tokens]; ``is_there`` [expert]
    says which experts the GPU holds.
    """
    misses = 0
    resident = np.int64(0)
    for expert in case.selected:
        case.is_held[expert] = is_there[expert]
        case.is_miss[expert] = not is_there[expert]
        chosen[expert] = _RESIDENT
        misses += case.is_miss[expert]
        for column in range(3):
            case.priced[column, expert] = believed[column, case.tokens[expert]]
        if case.is_held[expert]:
            resident += case.priced[ON_GPU, expert]
    return misses, resident


@part
def _spill(case, beside, desk, shape, misses, chosen):
    """Split a layer by ``spill_row``, or as noted for an equal case."""
    num_selected = len(case.selected)
    each = _tokens_of_each(case)
    if each == 0 or num_selected >= desk.notes.found.shape[1]:
        spill_row(case, beside, desk.room, chosen)
        return
    # Experts of one layer shape take as long to copy: that needs no telling apart.
    alike = Alike(each, beside.dense_ns, beside.num_tokens, np.int64(0))
    open_notes(desk.notes, shape, alike)
    note = desk.notes.found[shape, misses, num_selected - misses]
    if note[0] < 0:
        end = spill_row(case, beside, desk.room, chosen)
        write_note(note, end, case.selected, case.is_miss, chosen)
    else:
        spill_as_noted(note, case.selected, case.is_miss, chosen)


@part
def _decide_layer(case, beside, weighing, desk, found, chosen):
    """Have the rule decide on the misses of a layer.

    ``found`` is the layer's shape, its number of misses, and the time (ns) of what the GPU runs
    besides the misses.
    """
    shape, misses, resident = found
    if weighing.rule == _SPILL and len(case.selected) > 0:
        _spill(case, beside, desk, shape, misses, chosen)
    elif misses > 0:
        split_row(weighing.rule, case, resident, 0, chosen)


@part
def _decide_each(tokens, experts_LE, weighing, early, desk, actions):
    """Fill ``actions`` [pass, layer, expert], one layer after another."""
    known = weighing.beside
    has_early = early.experts.shape[0] > 0
    # Few of many are selected: everything but finding them is done for those alone.
    num_selected = 0
    for index in range(actions.shape[0]):
        for layer in range(actions.shape[1]):
            shape = weighing.shape_of[layer]
            row = tokens[index, layer]
            chosen = actions[index, layer]
            for expert in desk.places[:num_selected]:
                desk.is_miss[expert] = False
                desk.is_held[expert] = False
            num_selected = find_selected(row, desk.places)
            selected = desk.places[:num_selected]
            case = LayerCase(selected, row, desk.is_miss, desk.is_held, desk.priced)
            dense = known.dense[index, shape]
            num_tokens = known.num_tokens[index]
            activations = known.activations[shape]
            beside = Beside(dense, num_tokens, activations, known.fixed)
            misses, resident = _look_up(
                case, experts_LE[layer], weighing.believed[:, shape], chosen
            )
            resident += dense
            if has_early and early.experts[index, layer].any():
                is_early = early.experts[index, layer]
                resident += _take_early(case, is_early, chosen)
                if weighing.rule == _SPILL:
                    on_gpu, on_link = begun(
                        is_early, selected, desk.priced, early.lead[index, shape], dense
                    )
                    busy = Beside(on_gpu, num_tokens, activations, known.fixed)
                    known.fixed[LINK_BUSY] = on_link
                    spill_row(case, busy, desk.room, chosen)
                    known.fixed[LINK_BUSY] = 0
                    continue
            _decide_layer(case, beside, weighing, desk, (shape, misses, resident), chosen)


@allocating_kernel
def decide_misses(tokens, experts_LE, weighing, early, actions):
    """Fill ``actions`` [pass, layer, expert] with hits and with what the rule says about misses.

    ``experts_LE`` [layer, expert] are the residents, which never change.
    """
    num_experts = experts_LE.shape[1]
    num_shapes = weighing.believed.shape[1]
    rule = weighing.rule
    if rule <= _FETCHING:
        missing = _FETCH if rule == _FETCHING else _CPU
        _decide_alike(tokens, experts_LE, missing, early, actions)
        return
    most = weighing.most_alike + 1 if rule == _SPILL else 0
    desk = Desk(
        np.zeros(num_experts, np.bool_),
        np.zeros(num_experts, np.bool_),
        np.empty(num_experts + 1, np.int64),
        np.zeros((3, num_experts), np.int64),
        np.empty((ROOM, num_experts), np.int64),
        SpillNotes(
            np.zeros((num_shapes, 4), np.int64), np.zeros((num_shapes, most, most, 3), np.int64)
        ),
    )
    actions[:] = 0
    # In a part, which allocates nothing, no reference to any of these arrays is counted.
    _decide_each(tokens, experts_LE, weighing, early, desk, actions)


@inner
def _take_early(case, is_early, actions):
    """Take early experts out of the misses that the rule decides on; return the GPU's time for them
    (ns).
    """
    work = np.int64(0)
    for expert in case.selected:
        if is_early[expert]:
            actions[expert] = _EARLY
            case.is_miss[expert] = False
            work += case.priced[ON_GPU, expert]
    return work


@inner
def _tokens_of_each(case):
    """The tokens that each selected expert gets; 0 where they differ."""
    each = np.int64(case.tokens[case.selected[0]])
    for expert in case.selected:
        if case.tokens[expert] != each:
            return np.int64(0)
    return each
