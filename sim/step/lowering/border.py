"""Tasks that go on in the next part of a run: numbered anew, since all before the oldest that is
needed are left out. What had ended there is waited for by nobody.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.state import ENTRY, FIRST_OPEN, NUM_DEPENDENCIES, NUM_TASKS, EngineRows
from sim.engine.task import NONE
from sim.step.lowering.draft import (
    JOIN_A,
    JOIN_B,
    NUM_JOINS,
    PREVIOUS,
    ROW,
    STATE_SIZE,
    Draft,
    M,
    N,
)
from sim.step.lowering.job import Job, fresh_rows

_OF_TASKS = ("watcher", "next_watcher", "next_in_order")
_OF_LANES = ("running", "head", "tail")


def moved(numbers: NDArray[Any], num_left_out: int) -> NDArray[Any]:
    """Numbers of tasks in the new order; NONE for those that are left out, and for none."""
    return np.where(numbers >= num_left_out, numbers - num_left_out, NONE)


def joined_draft(fresh: Draft, before: Draft, num_left_out: int) -> Draft:
    """The draft of the next passes, behind what is kept of the one before."""
    num_tasks = int(before.state[N])
    num_dependencies = int(before.state[M])
    left_out = _end_of_dependencies(before, num_left_out)
    count = num_tasks - num_left_out
    # What is behind those is written when it is emitted, and takes no memory before.
    rows = np.empty(count + len(fresh.rows), ROW)
    rows[:count] = before.rows[num_left_out:num_tasks]
    rows["end_of_dependencies"][:count] -= left_out
    dependencies = np.empty(num_dependencies - left_out + len(fresh.dependencies), np.int64)
    # What is left out has ended: task 0, the last of it that is kept, stands for all of it.
    kept = np.maximum(before.dependencies[left_out:num_dependencies] - num_left_out, 0)
    dependencies[: len(kept)] = kept
    state = before.state.copy()
    state[N] -= num_left_out
    state[M] -= left_out
    places = [PREVIOUS, JOIN_A, JOIN_B, *range(STATE_SIZE, STATE_SIZE + int(state[NUM_JOINS]))]
    state[places] = moved(state[places], num_left_out)
    return fresh._replace(
        rows=rows,
        dependencies=dependencies,
        state=state,
        expert_ring=moved(before.expert_ring, num_left_out),
        layer_ring=moved(before.layer_ring, num_left_out),
    )


def _end_of_dependencies(draft: Draft, count: int) -> int:
    """Dependencies of the first ``count`` tasks."""
    return int(draft.rows[count - 1]["end_of_dependencies"]) if count else 0


def joined_rows(job: Job, before: Draft, old: EngineRows, num_left_out: int) -> EngineRows:
    """The engine's rows with room for all of a job, and what it has of tasks that are kept of the
    draft ``before``, whose rows are ``old``.
    """
    rows = fresh_rows(job)
    end = int(old.clock[NUM_TASKS])
    count = end - num_left_out
    left_out = _end_of_dependencies(before, num_left_out)
    tasks = old.tasks[num_left_out:end].copy()
    tasks["first_dependency"] -= left_out
    for name in _OF_TASKS:
        tasks[name] = moved(tasks[name], num_left_out)
    rows.tasks[:count] = tasks
    rows.times[:, :count] = old.times[:, num_left_out:end]
    bases = rows.lanes["heap_base"].copy()
    rows.lanes[:] = old.lanes
    for name in _OF_LANES:
        rows.lanes[name] = moved(old.lanes[name], num_left_out)
    for lane, base in zip(rows.lanes, bases.tolist(), strict=True):
        start = int(lane["heap_base"])
        entries = old.heap[start : start + int(lane["heap_size"])].astype(ENTRY, copy=True)
        entries["number"] -= num_left_out
        rows.heap[base : base + len(entries)] = entries
        lane["heap_base"] = base
    rows.clock[:] = old.clock
    rows.clock[NUM_TASKS] = count
    rows.clock[FIRST_OPEN] = max(0, int(old.clock[FIRST_OPEN]) - num_left_out)
    rows.clock[NUM_DEPENDENCIES] = old.clock[NUM_DEPENDENCIES] - left_out
    return rows
