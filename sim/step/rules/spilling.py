"""Which experts of a layer, missing or resident, the CPU computes so that the layer ends first: the
compiled rule behind SpillDispatch.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import inner, kernel, part
from sim.model.model import TensorClass, layer_shapes
from sim.policies.actions import Action
from sim.policies.problem import Problem

Rows = NDArray[Any]
GROUP_GPU, LEAST_GPU, GROUP_CPU, BUFFERS, MAY_SPILL, LINK_BUSY = range(6)
"""Places in ``Around.fixed``."""
ROOM = 9
_BY_NUMBER, _MISSES, _HELD, _RANK, _ENDS, _PLACE, _GROUP_COPIES, _GROUP_RUNS, _GROUP_END = range(
    ROOM
)
"""Rows of the working room [ROOM, expert]: misses by number; misses and residents from the fewest
tokens; of a miss, its places there; …
"""
_GROUP = 12
"""Misses by number are timed in groups: of many misses most groups stay as they are when one more
goes to the CPU.
"""
_NEVER = -(2**62)
_ON_CPU, _COPIES, _ON_GPU = range(3)
_CPU = int(Action.CPU)
_FETCH = int(Action.FETCH)
_UP, _DOWN = range(2)


class Around(NamedTuple):
    """What the experts of a layer run beside, and what it costs to hand some to the CPU; times in
    ns.

    ``dense`` [pass, layer shape] is the GPU's work on shared experts; ``num_tokens`` [pass];
    ``activations`` [to or from the GPU, tokens]; ``fixed``: what one call for a layer's experts
    takes on the GPU besides, what it lasts there at least, what it takes on the CPU; buffers that
    copies go through; whether residents may go to the CPU at all (1 or 0); how long the link is not
    free (0, but where copies ahead of gates hold it).
    """

    dense: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    activations: NDArray[np.int64]
    fixed: NDArray[np.int64]


def around(problem: Problem, num_tokens: NDArray[Any], *, may_spill: bool) -> Around:
    """True prices around the experts of passes of that many tokens."""
    costs = problem.costs
    model = problem.model
    overlap = problem.overlap
    representatives, _ = layer_shapes(model)
    dense = np.zeros((len(num_tokens), len(representatives)), np.int64)
    for shape, layer in enumerate(representatives):
        if model.layers[layer].is_moe and model.layers[layer].params.get(
            TensorClass.SHARED_EXPERT, 0
        ):
            dense[:, shape] = costs.weights("gpu", layer, TensorClass.SHARED_EXPERT, num_tokens).ns
    sizes = np.arange(int(num_tokens.max(initial=0)) + 1) * model.hidden * model.activation_bytes
    up, down = (costs.copy(way, sizes, is_pinned=overlap.is_pinned).ns for way in ("h2d", "d2h"))
    groups = [0, 0, 0]
    if overlap.groups_experts:
        groups = [
            costs.group_overhead_ns("gpu"),
            costs.group_least_ns(),
            costs.group_overhead_ns("cpu"),
        ]
    fixed = np.array(
        [*groups, max(1, overlap.staging_experts), may_spill and has_host_copies(problem), 0],
        np.int64,
    )
    return Around(
        dense=dense,
        num_tokens=num_tokens.astype(np.int64),
        activations=np.stack([up, down]),
        fixed=fixed,
    )


def has_host_copies(problem: Problem) -> bool:
    """Whether host memory, where it is stated, holds all weights of the model: then the CPU can run
    experts that the GPU holds too.
    """
    stated = problem.machine.cpu.memory_bytes
    return stated is None or problem.model.total_bytes <= stated.effective


@inner
def _insert(row, size, expert, tokens, copies):
    """Put the expert into an ascending row of that size: behind those of as many tokens, before
    those of shorter copies among them.
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
def _sorted(selected, tokens, is_miss, is_held, priced, fixed, room, actions):
    """Fill the room with who may move, all misses to be fetched; returns how many misses, how many
    residents, and the residents' work.
    """
    num_misses = 0
    num_held = 0
    held_ns = np.int64(0)
    for expert in selected:
        if is_miss[expert]:
            room[_BY_NUMBER, num_misses] = expert
            room[_PLACE, expert] = num_misses
            _insert(room[_MISSES], num_misses, expert, tokens, priced[_COPIES])
            num_misses += 1
            actions[expert] = _FETCH
        elif is_held[expert]:
            held_ns += priced[_ON_GPU, expert]
            if fixed[MAY_SPILL] == 1:
                _insert(room[_HELD], num_held, expert, tokens, priced[_COPIES])
                num_held += 1
    for place in range(num_misses):
        room[_RANK, room[_MISSES, place]] = place
    return num_misses, num_held, held_ns


@inner
def _time_group(priced, room, num_misses, to_cpu, group):
    """Note what fetching a group's misses by number, less the first ``to_cpu`` by tokens, comes to:
    copies, runs, its last end.
    """
    copies = np.int64(0)
    runs = np.int64(0)
    end = np.int64(_NEVER)
    for place in range(group * _GROUP, min(num_misses, (group + 1) * _GROUP)):
        expert = room[_BY_NUMBER, place]
        if room[_RANK, expert] >= to_cpu:
            copies += priced[_COPIES, expert]
            runs += priced[_ON_GPU, expert]
            end = max(end, copies) + priced[_ON_GPU, expert]
    room[_GROUP_COPIES, group] = copies
    room[_GROUP_RUNS, group] = runs
    room[_GROUP_END, group] = end


@inner
def _time_groups(priced, room, num_misses, fixed):
    """Time all groups, every miss being fetched, where buffers do not run out; elsewhere groups say
    nothing.
    """
    if num_misses <= fixed[BUFFERS]:
        for group in range((num_misses + _GROUP - 1) // _GROUP):
            _time_group(priced, room, num_misses, 0, group)


@inner
def _retime(priced, room, num_misses, to_cpu, expert, fixed):
    """Time the group of a miss anew that goes to the CPU now, or no longer."""
    if num_misses <= fixed[BUFFERS]:
        _time_group(priced, room, num_misses, to_cpu, room[_PLACE, expert] // _GROUP)


@inner
def _lanes(priced, room, num_misses, to_cpu, on_gpu, fixed):
    """When the GPU, busy until ``on_gpu``, and the link have done with what is fetched, copies
    going through buffers that never run out.
    """
    on_link = fixed[LINK_BUSY]
    for group in range((num_misses + _GROUP - 1) // _GROUP):
        on_gpu = max(on_gpu + room[_GROUP_RUNS, group], on_link + room[_GROUP_END, group])
        on_link += room[_GROUP_COPIES, group]
    return on_gpu, on_link


@inner
def _lanes_of_few_buffers(priced, room, num_misses, to_cpu, on_gpu, fixed):
    """The same, each copy waiting for a buffer."""
    on_link = fixed[LINK_BUSY]
    buffers = fixed[BUFFERS]
    # counted round: dividing took most of the time
    num_fetched = 0
    buffer = 0
    for place in range(num_misses):
        expert = room[_BY_NUMBER, place]
        if room[_RANK, expert] >= to_cpu:
            if num_fetched >= buffers:
                on_link = max(on_link, room[_ENDS, buffer])
            on_link += priced[_COPIES, expert]
            on_gpu = max(on_gpu, on_link) + priced[_ON_GPU, expert]
            room[_ENDS, buffer] = on_gpu
            num_fetched += 1
            buffer = buffer + 1 if buffer + 1 < buffers else 0
    return on_gpu, on_link


@inner
def _ends(
    priced,
    room,
    num_misses,
    to_cpu,
    held_ns,
    core_ns,
    num_sent,
    dense_ns,
    num_tokens,
    activations,
    fixed,
):
    """When GPU and link have done, and when the CPU's results are back (0: nothing is sent there).

    The CPU computes the first ``to_cpu`` misses by tokens; the others are fetched by number.
    """
    on_gpu = dense_ns + held_ns
    if fixed[GROUP_GPU] > 0 or fixed[LEAST_GPU] > 0:
        work = held_ns
        for place in range(to_cpu, num_misses):
            work += priced[_ON_GPU, room[_MISSES, place]]
        if work > 0:
            on_gpu += max(fixed[GROUP_GPU], fixed[LEAST_GPU] - work)
    if num_misses <= fixed[BUFFERS]:
        on_gpu, on_link = _lanes(priced, room, num_misses, to_cpu, on_gpu, fixed)
    else:
        on_gpu, on_link = _lanes_of_few_buffers(priced, room, num_misses, to_cpu, on_gpu, fixed)
    if num_sent == 0:
        return on_gpu, np.int64(0)
    on_link = on_link if num_misses > to_cpu else np.int64(0)
    rows = min(num_sent, num_tokens)
    back = activations[_UP, rows]
    return max(on_gpu, on_link + back), activations[_DOWN, rows] + fixed[GROUP_CPU] + core_ns + back


@part
def spill_row(
    selected,
    tokens,
    is_miss,
    is_held,
    priced,
    dense_ns,
    num_tokens,
    activations,
    fixed,
    room,
    actions,
):
    """Write CPU or FETCH for every miss of one layer [expert], and CPU for residents that go there;
    returns when the layer ends, in ns.

    Misses and residents are among ``selected``, ascending. Believed ``priced`` ns [CPU, copy, GPU;
    expert]; ``dense_ns`` and what follows as in Around; ``room`` [ROOM, expert] is working room.

    The CPU takes the m misses and the r residents of fewest tokens, with m and r for which the
    layer ends first. The more misses it takes, the fewer residents are needed to keep it as busy as
    the others, so that the pairs that matter lie on one walk of at most misses + residents steps,
    at each of which the layer is timed task by task.
    """
    num_misses, num_held, held_ns = _sorted(
        selected, tokens, is_miss, is_held, priced, fixed, room, actions
    )
    m, r, core_ns, num_sent = 0, 0, np.int64(0), np.int64(0)
    _time_groups(priced, room, num_misses, fixed)
    end, back = _ends(
        priced,
        room,
        num_misses,
        0,
        held_ns,
        core_ns,
        num_sent,
        dense_ns,
        num_tokens,
        activations,
        fixed,
    )
    best, best_m, best_r = end, 0, 0
    while m < num_misses and back < best:  # misses alone; the CPU's end only grows
        expert = room[_MISSES, m]
        m += 1
        _retime(priced, room, num_misses, m, expert, fixed)
        core_ns += priced[_ON_CPU, expert]
        num_sent += tokens[expert]
        end, back = _ends(
            priced,
            room,
            num_misses,
            m,
            held_ns,
            core_ns,
            num_sent,
            dense_ns,
            num_tokens,
            activations,
            fixed,
        )
        if max(end, back) < best:
            best, best_m, best_r = max(end, back), m, 0
    while num_held > 0:
        while r < num_held and back < end:
            expert = room[_HELD, r]
            r += 1
            held_ns -= priced[_ON_GPU, expert]
            core_ns += priced[_ON_CPU, expert]
            num_sent += tokens[expert]
            end, back = _ends(
                priced,
                room,
                num_misses,
                m,
                held_ns,
                core_ns,
                num_sent,
                dense_ns,
                num_tokens,
                activations,
                fixed,
            )
            if max(end, back) < best:
                best, best_m, best_r = max(end, back), m, r
        if m == 0:
            break
        m -= 1
        expert = room[_MISSES, m]
        _retime(priced, room, num_misses, m, expert, fixed)
        core_ns -= priced[_ON_CPU, expert]
        num_sent -= tokens[expert]
        end, back = _ends(
            priced,
            room,
            num_misses,
            m,
            held_ns,
            core_ns,
            num_sent,
            dense_ns,
            num_tokens,
            activations,
            fixed,
        )
        if max(end, back) < best:
            best, best_m, best_r = max(end, back), m, r
        if r > 0 and back >= end:
            last = room[_HELD, r - 1]
            less = priced[_ON_GPU, last], priced[_ON_CPU, last]
            sent = num_sent - tokens[last]
            one = _ends(
                priced,
                room,
                num_misses,
                m,
                held_ns + less[0],
                core_ns - less[1],
                sent,
                dense_ns,
                num_tokens,
                activations,
                fixed,
            )
            if max(one[0], one[1]) < best:
                best, best_m, best_r = max(one[0], one[1]), m, r - 1
    for place in range(best_m):
        actions[room[_MISSES, place]] = _CPU
    for place in range(best_r):
        actions[room[_HELD, place]] = _CPU
    return best


@inner
def note_spill(selected, is_miss, actions, spill):
    """Count the misses and the hits that go to the CPU."""
    spill[:] = 0
    for expert in selected:
        if actions[expert] == _CPU:
            spill[0 if is_miss[expert] else 1] += 1


@inner
def spill_as_noted(spill, selected, is_miss, actions):
    """Send that many misses and hits to the CPU, from the lowest number; the other misses are
    fetched.
    """
    misses = spill[0]
    hits = spill[1]
    for expert in selected:
        if is_miss[expert]:
            actions[expert] = _CPU if misses > 0 else _FETCH
            misses -= 1
        elif hits > 0:
            actions[expert] = _CPU
            hits -= 1


@kernel
def spill_rows(
    selected: Rows,
    tokens: Rows,
    is_miss: Rows,
    priced: Rows,
    dense: Rows,
    num_tokens: Rows,
    activations: Rows,
    fixed: Rows,
    room: Rows,
    is_held: Rows,
    actions: Rows,
) -> None:
    """``spill_row`` for every case [case, expert]; ``priced`` [case, 3, expert], ``dense`` and
    ``num_tokens`` [case]; the rest is held.
    """
    for case in range(len(tokens)):
        for expert in range(tokens.shape[1]):
            is_held[expert] = tokens[case, expert] > 0 and not is_miss[case, expert]
        spill_row(
            selected,
            tokens[case],
            is_miss[case],
            is_held,
            priced[case],
            dense[case],
            num_tokens[case],
            activations,
            fixed,
            room,
            actions[case],
        )
