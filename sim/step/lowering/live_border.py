"""A live run driven in parts: what is under way between two passes goes on in the next part.

Tasks are numbered anew at a border, since all before the oldest that is needed are left out: what
had ended there is waited for by nobody.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.fast import refuse_late
from sim.engine.state import (
    AWAITED,
    DONE,
    ENTRY,
    FINISHED,
    FIRST_OPEN,
    NUM_DEPENDENCIES,
    NUM_TASKS,
    EngineRows,
)
from sim.engine.task import NONE
from sim.step.lowering.draft import JOIN_A, JOIN_B, NUM_JOINS, PREVIOUS, STATE_SIZE, Draft, M, N
from sim.step.lowering.live_fast import LAST, SUBMITTED, drive, fresh_rows
from sim.step.lowering.live_run import LiveJob
from sim.step.lowering.slots import NUM_COMING, WASTED_BYTES, held_of

_OF_TASKS = ("watcher", "next_watcher", "next_in_order")
_OF_LANES = ("running", "head", "tail")
_OF_SLOTS = ("copy", "looked_up", "freed_by", "last_use")
_OF_GATES = ("pinned_at", "used_at")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Driven:
    """A part that was driven: its job, the engine's rows, and what the driver said of the border."""

    job: LiveJob
    rows: EngineRows
    border: NDArray[np.int64]

    @property
    def num_tasks(self) -> int:
        """Tasks emitted so far, including those left over from earlier parts."""
        return int(self.job.draft.state[N])

    @property
    def num_submitted(self) -> int:
        """Tasks that the engine has; what it says of others means nothing."""
        return int(self.border[SUBMITTED])

    def first_needed(self) -> int:
        """The number of the first task that has not ended, or whose end no gate has seen."""
        submitted = self.num_submitted
        unfinished = np.flatnonzero(self.rows.tasks["state"][:submitted] < DONE)
        cached = self.job.cached
        coming = cached.coming[: cached.counters[NUM_COMING]]
        copies = cached.slots["copy"].ravel()[coming]
        return min(
            submitted,
            int(unfinished[0]) if len(unfinished) else submitted,
            int(copies.min(initial=submitted)),
        )

    def wasted_bytes(self) -> int:
        """As in LiveJob, at the end of the run: copies of earlier parts were not taken back."""
        cached = self.job.cached
        layers, _ = np.nonzero(cached.slots["is_unused"] == 1)
        unused_bytes = self.job.sheet.layers["expert_bytes"][layers].sum()
        return int(cached.counters[WASTED_BYTES] + unused_bytes)


def drive_part(job: LiveJob, before: Driven | None, num_left_out: int, *, is_last: bool) -> Driven:
    """Drive the passes of a job, going on from ``before`` without its first tasks.

    Raises InputError when the run would outlast the clock.
    """
    border = np.array([0, NONE, not is_last], np.int64)
    if before is None:
        rows = fresh_rows(job)
    else:
        job, rows = _joined(job, before, num_left_out)
        border[SUBMITTED] = before.border[SUBMITTED] - num_left_out
        border[LAST] = before.job.draft.last_task[-1] - num_left_out
    outcome = drive(job.draft, job.cached, job.live, rows, border)
    if outcome != (FINISHED if is_last else AWAITED):
        refuse_late(int(rows.lanes["due"].min()))
    return Driven(job=job, rows=rows, border=border)


def _moved(numbers: NDArray[Any], num_left_out: int) -> NDArray[Any]:
    """Numbers of tasks in the new order; NONE for those that are left out, and for none."""
    return np.where(numbers >= num_left_out, numbers - num_left_out, NONE)


def _joined(job: LiveJob, before: Driven, num_left_out: int) -> tuple[LiveJob, EngineRows]:
    """The job of the next passes with all that goes on, and the engine's rows for both."""
    draft = _joined_draft(job.draft, before.job.draft, num_left_out)
    cached = before.job.cached
    slots = cached.slots.copy()
    for name in _OF_SLOTS:
        slots[name] = _moved(slots[name], num_left_out)
    # Gates are numbered anew, too.
    for name in _OF_GATES:
        slots[name] = NONE
    held = held_of(slots, is_global=bool(cached.rules[0]["is_global"]))
    going_on = job.cached._replace(
        slots=slots,
        scores=cached.scores,
        free=cached.free,
        coming=cached.coming,
        counters=cached.counters,
        **held,
    )
    live = job.live._replace(turn=_moved(before.job.live.turn, num_left_out))
    made = replace(job, draft=draft, cached=going_on, live=live)
    return made, _joined_rows(made, before, num_left_out)


def _joined_draft(fresh: Draft, before: Draft, num_left_out: int) -> Draft:
    num_tasks = int(before.state[N])
    num_dependencies = int(before.state[M])
    left_out = _end_of_dependencies(before, num_left_out)
    rows = np.concatenate([before.rows[num_left_out:num_tasks], fresh.rows])
    rows["end_of_dependencies"][: num_tasks - num_left_out] -= left_out
    # What is left out has ended: task 0, the last of it that is kept, stands for all of it.
    kept = np.maximum(before.dependencies[left_out:num_dependencies] - num_left_out, 0)
    state = before.state.copy()
    state[N] -= num_left_out
    state[M] -= left_out
    places = [PREVIOUS, JOIN_A, JOIN_B, *range(STATE_SIZE, STATE_SIZE + int(state[NUM_JOINS]))]
    state[places] = _moved(state[places], num_left_out)
    return fresh._replace(
        rows=rows,
        dependencies=np.concatenate([kept, fresh.dependencies]),
        state=state,
        expert_ring=_moved(before.expert_ring, num_left_out),
        layer_ring=_moved(before.layer_ring, num_left_out),
    )


def _end_of_dependencies(draft: Draft, count: int) -> int:
    """Dependencies of the first ``count`` tasks."""
    return int(draft.rows[count - 1]["end_of_dependencies"]) if count else 0


def _joined_rows(job: LiveJob, before: Driven, num_left_out: int) -> EngineRows:
    """The engine's rows with room for all, and what it has of tasks that are kept."""
    rows = fresh_rows(job)
    old = before.rows
    end = int(old.clock[NUM_TASKS])
    count = end - num_left_out
    left_out = _end_of_dependencies(before.job.draft, num_left_out)
    tasks = old.tasks[num_left_out:end].copy()
    tasks["first_dependency"] -= left_out
    for name in _OF_TASKS:
        tasks[name] = _moved(tasks[name], num_left_out)
    rows.tasks[:count] = tasks
    rows.times[:, :count] = old.times[:, num_left_out:end]
    bases = rows.lanes["heap_base"].copy()
    rows.lanes[:] = old.lanes
    for name in _OF_LANES:
        rows.lanes[name] = _moved(old.lanes[name], num_left_out)
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
