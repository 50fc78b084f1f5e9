"""The compiled rule behind SpillDispatch: which experts the CPU computes so that a layer ends
first.

The CPU may compute missing and resident experts. A split is timed task by task, as the simulator
would run it, so that the promised time comes true. Misses are fetched by number, in the order in
which they are submitted. The CPU takes the misses of fewest tokens.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel, inner, part
from sim.policies.actions import Action
from sim.step.rules.around import (
    BUFFERS,
    COPIES,
    GROUP_CPU,
    GROUP_GPU,
    LEAST_GPU,
    LINK_BUSY,
    MAY_SPILL,
    ON_CPU,
    ON_GPU,
    Around,
    Beside,
    LayerCase,
    Whole,
)

ROOM = 9
_BY_NUMBER, _MISSES, _HELD, _RANK, _ENDS, _PLACE, _GROUP_COPIES, _GROUP_RUNS, _GROUP_END = range(
    ROOM
)
"""Rows of the working room [ROOM, expert].

_BY_NUMBER lists the misses by number. _MISSES and _HELD list misses and residents from the fewest
tokens on. _PLACE and _RANK are the places of a miss in _BY_NUMBER and _MISSES. _ENDS is when each
buffer is free again. _GROUP_COPIES, _GROUP_RUNS and _GROUP_END are the copies, the runs and the
last end of each group of misses. All times are in ns.
"""
_GROUP = 12
"""How many misses, by number, are timed as one group.

Of many misses, most groups stay as they are when one more goes to the CPU.
"""
_NEVER = -(2**62)
_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)
_UP, _DOWN = range(2)


class Split(NamedTuple):
    """A split of a layer's experts, of which ``num_misses`` are missing.

    The CPU takes the first ``misses`` of these and the first ``residents`` of the residents, from
    the fewest tokens on. ``held_ns`` is the GPU's time for residents and ``core_ns`` the CPU's
    time. ``num_sent`` are the tokens of the experts on the CPU.
    """

    num_misses: Whole
    misses: Whole
    residents: Whole
    held_ns: Whole
    core_ns: Whole
    num_sent: Whole


class Best(NamedTuple):
    """The split that ends first so far."""

    end_ns: Whole
    misses: Whole
    residents: Whole


@inner
def _insert(row, size, expert, tokens, copies):
    """Insert an expert into an ascending row of ``size`` experts.

    It goes behind experts of as many tokens, but before those among them with shorter copies.
    """
    place = size
    while place > 0:
        before = row[place - 1]
        if tokens[before] < tokens[expert] or (
            tokens[before] == tokens[expert] and copies[before] >= copies[expert]
        ):
            break
        row[place] = before
        place -= 1
    row[place] = expert


@inner
def _all_on_gpu(case, fixed, room, actions):
    """Fill the room with the experts that may move to the CPU, and set all misses to be fetched.

    Return how many residents may move, and the split with all experts on the GPU.
    """
    num_misses = 0
    num_held = 0
    held_ns = np.int64(0)
    for expert in case.selected:
        if case.is_miss[expert]:
            room[_BY_NUMBER, num_misses] = expert
            room[_PLACE, expert] = num_misses
            _insert(room[_MISSES], num_misses, expert, case.tokens, case.priced[COPIES])
            num_misses += 1
            actions[expert] = _FETCH
        elif case.is_held[expert]:
            held_ns += case.priced[ON_GPU, expert]
            if fixed[MAY_SPILL] == 1:
                _insert(room[_HELD], num_held, expert, case.tokens, case.priced[COPIES])
                num_held += 1
    for place in range(num_misses):
        room[_RANK, room[_MISSES, place]] = place
    none = np.int64(0)
    return num_held, Split(np.int64(num_misses), none, none, held_ns, none, none)


@inner
def _time_group(priced, room, num_misses, to_cpu, group):
    """Note the copies, the runs and the last end of a group, if its misses are fetched by number.

    The first ``to_cpu`` misses by tokens are left out, because the CPU takes them.
    """
    copies = np.int64(0)
    runs = np.int64(0)
    end = np.int64(_NEVER)
    for place in range(group * _GROUP, min(num_misses, (group + 1) * _GROUP)):
        expert = room[_BY_NUMBER, place]
        if room[_RANK, expert] >= to_cpu:
            copies += priced[COPIES, expert]
            runs += priced[ON_GPU, expert]
            end = max(end, copies) + priced[ON_GPU, expert]
    room[_GROUP_COPIES, group] = copies
    room[_GROUP_RUNS, group] = runs
    room[_GROUP_END, group] = end


@inner
def _time_groups(priced, room, num_misses, fixed):
    """Time all groups, if every miss is fetched."""
    # Where buffers run out, a copy waits for a run that another group may hold: groups say nothing.
    if num_misses <= fixed[BUFFERS]:
        for group in range((num_misses + _GROUP - 1) // _GROUP):
            _time_group(priced, room, num_misses, 0, group)


@inner
def _move_miss(case, fixed, room, split, step):
    """The split with one more miss on the CPU (``step`` 1) or one less (-1)."""
    misses = split.misses + step
    expert = room[_MISSES, min(misses, split.misses)]
    if split.num_misses <= fixed[BUFFERS]:
        group = room[_PLACE, expert] // _GROUP
        _time_group(case.priced, room, split.num_misses, misses, group)
    return Split(
        split.num_misses,
        misses,
        split.residents,
        split.held_ns,
        split.core_ns + step * case.priced[ON_CPU, expert],
        split.num_sent + step * np.int64(case.tokens[expert]),
    )


@inner
def _move_resident(case, room, split, step):
    """The split with one more resident on the CPU (``step`` 1) or one less (-1)."""
    residents = split.residents + step
    expert = room[_HELD, min(residents, split.residents)]
    return Split(
        split.num_misses,
        split.misses,
        residents,
        split.held_ns - step * case.priced[ON_GPU, expert],
        split.core_ns + step * case.priced[ON_CPU, expert],
        split.num_sent + step * np.int64(case.tokens[expert]),
    )


@inner
def _lanes(room, num_misses, on_gpu, fixed):
    """Return when the GPU, busy until ``on_gpu``, and the link have finished what is fetched.

    Copies go through buffers that never run out.
    """
    on_link = fixed[LINK_BUSY]
    for group in range((num_misses + _GROUP - 1) // _GROUP):
        on_gpu = max(on_gpu + room[_GROUP_RUNS, group], on_link + room[_GROUP_END, group])
        on_link += room[_GROUP_COPIES, group]
    return on_gpu, on_link


@inner
def _lanes_of_few_buffers(priced, room, split, on_gpu, fixed):
    """Return when the GPU, busy until ``on_gpu``, and the link have finished what is fetched.

    Each copy waits for a buffer.
    """
    on_link = fixed[LINK_BUSY]
    buffers = fixed[BUFFERS]
    # counted round: dividing took most of the time
    num_fetched = 0
    buffer = 0
    for place in range(split.num_misses):
        expert = room[_BY_NUMBER, place]
        if room[_RANK, expert] >= split.misses:
            if num_fetched >= buffers:
                on_link = max(on_link, room[_ENDS, buffer])
            on_link += priced[COPIES, expert]
            on_gpu = max(on_gpu, on_link) + priced[ON_GPU, expert]
            room[_ENDS, buffer] = on_gpu
            num_fetched += 1
            buffer = buffer + 1 if buffer + 1 < buffers else 0
    return on_gpu, on_link


@inner
def _ends(case, beside, room, split):
    """When GPU and link have done, and when the CPU's results are back (0: nothing is sent there)."""
    fixed = beside.fixed
    activations = beside.activations
    on_gpu = beside.dense_ns + split.held_ns
    if fixed[GROUP_GPU] > 0 or fixed[LEAST_GPU] > 0:
        work = split.held_ns
        for place in range(split.misses, split.num_misses):
            work += case.priced[ON_GPU, room[_MISSES, place]]
        if work > 0:
            on_gpu += max(fixed[GROUP_GPU], fixed[LEAST_GPU] - work)
    if split.num_misses <= fixed[BUFFERS]:
        on_gpu, on_link = _lanes(room, split.num_misses, on_gpu, fixed)
    else:
        on_gpu, on_link = _lanes_of_few_buffers(case.priced, room, split, on_gpu, fixed)
    if split.num_sent == 0:
        return on_gpu, np.int64(0)
    # Activations go before weights: without a fetch of its own, the layer does not wait for the link.
    on_link = on_link if split.num_misses > split.misses else np.int64(0)
    rows = min(split.num_sent, beside.num_tokens)
    back = activations[_UP, rows]
    on_cpu = activations[_DOWN, rows] + fixed[GROUP_CPU] + split.core_ns + back
    return max(on_gpu, on_link + back), on_cpu


@inner
def _better(best, ends, split):
    """Return the better of the best split so far and a split with those ends."""
    end_ns = max(ends[0], ends[1])
    return Best(end_ns, split.misses, split.residents) if end_ns < best.end_ns else best


@part
def spill_row(case, beside, room, actions):
    """Write CPU or FETCH for every miss of one layer [expert], and CPU for residents that go there.

    Return when the layer ends, in ns. ``room`` [ROOM, expert] is working room.

    The CPU takes the m misses and the r residents of fewest tokens, with m and r for which the
    layer ends first. The more misses the CPU takes, the fewer residents keep it as busy as the
    other lanes. So the pairs (m, r) that matter lie on one walk of at most misses + residents
    steps. At each step the layer is timed task by task.
    """
    fixed = beside.fixed
    num_held, split = _all_on_gpu(case, fixed, room, actions)
    _time_groups(case.priced, room, split.num_misses, fixed)
    ends = _ends(case, beside, room, split)
    best = Best(ends[0], split.misses, split.residents)
    # Misses alone first, up to where the CPU ends last: its end only grows.
    while split.misses < split.num_misses and ends[1] < best.end_ns:
        split = _move_miss(case, fixed, room, split, 1)
        ends = _ends(case, beside, room, split)
        best = _better(best, ends, split)
    # Then back, a miss at a time, with as many residents in its place as the CPU has time for.
    while num_held > 0:
        while split.residents < num_held and ends[1] < ends[0]:
            split = _move_resident(case, room, split, 1)
            ends = _ends(case, beside, room, split)
            best = _better(best, ends, split)
        if split.misses == 0:
            break
        split = _move_miss(case, fixed, room, split, -1)
        ends = _ends(case, beside, room, split)
        best = _better(best, ends, split)
        # The last resident may have been one too many: the walk itself never takes one back.
        if split.residents > 0 and ends[1] >= ends[0]:
            less = _move_resident(case, room, split, -1)
            best = _better(best, _ends(case, beside, room, less), less)
    for place in range(best.misses):
        actions[room[_MISSES, place]] = _CPU
    for place in range(best.residents):
        actions[room[_HELD, place]] = _CPU
    return best.end_ns


@allocating_kernel
def spill_rows(
    tokens: NDArray[Any],
    is_miss: NDArray[np.bool_],
    priced: NDArray[np.int64],
    around: Around,
    actions: NDArray[np.uint8],
) -> None:
    """Apply ``spill_row`` to every case [case, expert]; selected experts that are not missing are
    held.

    ``priced`` is [case, 3, expert]. Of ``around``, ``dense`` and ``num_tokens`` are [case], and
    ``activations`` are those of one layer shape.
    """
    num_experts = tokens.shape[1]
    everyone = np.arange(num_experts)
    room = np.empty((ROOM, num_experts), np.int64)
    is_held = np.zeros(num_experts, np.bool_)
    for number in range(len(tokens)):
        for expert in range(num_experts):
            is_held[expert] = tokens[number, expert] > 0 and not is_miss[number, expert]
        case = LayerCase(everyone, tokens[number], is_miss[number], is_held, priced[number])
        beside = Beside(
            around.dense[number], around.num_tokens[number], around.activations, around.fixed
        )
        spill_row(case, beside, room, actions[number])
