"""What the experts of every layer meet where residents never change: hits, and what the rule says of
misses.
"""

import numpy as np

from sim.engine.compilation import allocating_kernel, inner, part
from sim.policies.actions import Action
from sim.policies.dispatch.rule import Rule
from sim.step.lowering.early import begun
from sim.step.rules.spilling import LINK_BUSY, ROOM, note_spill, spill_as_noted, spill_row
from sim.step.rules.split import find_selected, split_row

_RESIDENT = int(Action.RESIDENT)
_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)
_EARLY = int(Action.EARLY)
_FETCHING = int(Rule.FETCH)
_SPILL = int(Rule.SPILL)


@part
def _decide_alike(tokens, experts_LE, missing, early, has_early, actions):
    """Decide where every miss meets the same fate: fill actions [pass, layer, expert]."""
    for index in range(actions.shape[0]):
        for layer in range(actions.shape[1]):
            for expert in range(actions.shape[2]):
                chosen = _RESIDENT if experts_LE[layer, expert] else missing
                if has_early and early.experts[index, layer, expert]:
                    chosen = _EARLY
                actions[index, layer, expert] = chosen if tokens[index, layer, expert] > 0 else 0


@part
def _look_up(selected, row, is_there, believed, is_miss, is_held, priced, chosen):
    """Mark and price a layer's selected experts; return the misses and what residents take, in ns.

    ``believed`` is ns [CPU, copy, GPU; tokens]; ``is_there`` says whom the GPU holds.
    """
    misses = 0
    resident = np.int64(0)
    for expert in selected:
        is_held[expert] = is_there[expert]
        is_miss[expert] = not is_there[expert]
        chosen[expert] = _RESIDENT
        misses += is_miss[expert]
        for column in range(3):
            priced[column, expert] = believed[column, row[expert]]
        if is_held[expert]:
            resident += priced[2, expert]
    return misses, resident


@part
def _spill_once(
    selected,
    row,
    is_miss,
    is_held,
    priced,
    dense,
    num_tokens,
    beside,
    room,
    hits,
    before,
    noted,
    noted_of_misses,
    chosen,
):
    """Split a layer by ``spill_row``, or as it was noted of an equal case."""
    is_known = _is_noted(row, selected, dense, num_tokens, before, noted)
    if is_known and noted_of_misses[hits, 0] >= 0:
        spill_as_noted(noted_of_misses[hits], selected, is_miss, chosen)
        return
    spill_row(
        selected,
        row,
        is_miss,
        is_held,
        priced,
        dense,
        num_tokens,
        beside.activations,
        beside.fixed,
        room,
        chosen,
    )
    # Looking for notes sets ``before`` to 0 where the case can have none.
    if before[0] > 0:
        note_spill(selected, is_miss, chosen, noted_of_misses[hits])


@allocating_kernel
def decide_misses(tokens, experts_LE, shape_of, rule, believed, beside, early, actions):
    """Hits, and what the rule says, for residents that never change [layer, expert]; fills actions
    [pass, layer, expert].
    """
    num_experts = experts_LE.shape[1]
    has_early = early.experts.shape[0] > 0
    if rule <= _FETCHING:
        missing = _FETCH if rule == _FETCHING else _CPU
        _decide_alike(tokens, experts_LE, missing, early, has_early, actions)
        return
    is_miss = np.zeros(num_experts, np.bool_)
    is_held = np.zeros(num_experts, np.bool_)
    priced = np.zeros((3, num_experts), np.int64)
    room = np.empty((ROOM, num_experts), np.int64)
    cases = np.zeros((believed.shape[1], 3), np.int64)
    most = num_experts + 1 if rule == _SPILL else 0
    spills = np.full((believed.shape[1], most, most, 2), -1, np.int32)
    # Few of many are selected: everything but finding them is done for those alone.
    places = np.empty(num_experts + 1, np.int64)
    num_selected = 0
    actions[:] = 0
    for index in range(actions.shape[0]):
        for layer in range(actions.shape[1]):
            shape = shape_of[layer]
            row = tokens[index, layer]
            chosen = actions[index, layer]
            dense = beside.dense[index, shape]
            num_tokens = beside.num_tokens[index]
            for expert in places[:num_selected]:
                is_miss[expert] = is_held[expert] = False
            num_selected = find_selected(row, places)
            selected = places[:num_selected]
            misses, resident = _look_up(
                selected,
                row,
                experts_LE[layer],
                believed[:, shape],
                is_miss,
                is_held,
                priced,
                chosen,
            )
            resident += dense
            if has_early and early.experts[index, layer].any():
                resident += _take_early(
                    early.experts[index, layer], selected, is_miss, priced, chosen
                )
                if rule == _SPILL:
                    dense, beside.fixed[LINK_BUSY] = begun(
                        early.experts[index, layer],
                        selected,
                        priced,
                        early.lead[index, shape],
                        dense,
                    )
                    spill_row(
                        selected,
                        row,
                        is_miss,
                        is_held,
                        priced,
                        dense,
                        num_tokens,
                        beside.activations,
                        beside.fixed,
                        room,
                        chosen,
                    )
                    beside.fixed[LINK_BUSY] = 0
                    continue
            if rule == _SPILL and num_selected > 0:
                _spill_once(
                    selected,
                    row,
                    is_miss,
                    is_held,
                    priced,
                    dense,
                    num_tokens,
                    beside,
                    room,
                    num_selected - misses,
                    cases[shape],
                    spills[shape],
                    spills[shape, misses],
                    chosen,
                )
            elif misses > 0:
                split_row(
                    rule,
                    selected,
                    row,
                    is_miss,
                    priced[0],
                    priced[1],
                    priced[2],
                    resident,
                    0,
                    chosen,
                )


@inner
def _take_early(is_early, selected, is_miss, priced, actions):
    """What comes early is no miss that a rule decides on; returns the GPU's work on it, in ns."""
    work = np.int64(0)
    for expert in selected:
        if is_early[expert]:
            actions[expert] = _EARLY
            is_miss[expert] = False
            work += priced[2, expert]
    return work


@inner
def _is_noted(row, selected, dense_ns, num_tokens, before, noted):
    """Whether this case has notes: where all selected experts get as many tokens, a spill depends
    on how many miss and hit alone.

    So it is in decoding one sequence: of both, the lowest numbers go to the CPU, as many as
    ``noted`` [misses, hits; of each]. Notes are for one case, ``before``: tokens of each expert (0
    where they differ), ns beside, tokens of the pass. In another they are forgotten.
    """
    each = np.int64(row[selected[0]])
    for expert in selected:
        if row[expert] != each:
            before[0] = 0
            return False
    if before[0] != each or before[1] != dense_ns or before[2] != num_tokens:
        before[0] = each
        before[1] = dense_ns
        before[2] = num_tokens
        noted[:] = -1
    return True
