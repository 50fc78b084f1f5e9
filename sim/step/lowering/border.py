"""Tasks that go on in the next part of a run.

All tasks before the oldest needed one are left out, so the others are numbered anew. Every task
that is left out has ended, so nothing has to wait for it.
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
    """Return the new numbers of tasks; NONE for tasks that are left out, and for NONE itself."""
    return np.where(numbers >= num_left_out, numbers - num_left_out, NONE)


def joined_draft(fresh: Draft, before: Draft, num_left_out: int) -> Draft:
    """Return the draft of the next passes, after the tasks that are kept of the draft
    ``before``.
    """
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
    """Return the number of dependencies of the first ``count`` tasks."""
    return int(draft.rows[count - 1]["end_of_dependencies"]) if count else 0


def joined_rows(job: Job, before: Draft, old: EngineRows, num_left_out: int) -> EngineRows:
    """Return engine rows with room for a whole job, filled with the state of the tasks that are
    kept.

    ``old`` are the engine's rows of the draft ``before``.
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
