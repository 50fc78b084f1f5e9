"""What an engine gets of a run that is emitted step by step, and the timeline that it
makes of it.
"""

from typing import Any, Protocol

import numpy as np

from sim.engine.compilation import kernel
from sim.engine.fast import active_factors, idle_lanes
from sim.engine.program import Platform, Session
from sim.engine.state import BUSY, CLOCK_SIZE, DROPPED, END, ENTRY, START, TASK, EngineRows
from sim.engine.task import Discipline, TaskTable
from sim.engine.timeline import Timeline
from sim.room import OWN_MEMORY, Room
from sim.step.lowering.draft import ROW, Draft, N


class Job(Protocol):
    """A run's resources, its tasks so far with room for more, and where large arrays lie."""

    @property
    def platform(self) -> Platform:
        """The run's resources."""

    @property
    def draft(self) -> Draft:
        """The run's tasks so far, with room for more."""

    @property
    def room(self) -> Room:
        """The memory in which large arrays lie."""


def fresh_rows(job: Job) -> EngineRows:
    """Return the engine's rows before the first task of a job, with room for all its tasks."""
    # All that a run may need at once: growing would move arrays under a run that is compiled whole.
    num_tasks = len(job.draft.rows)
    lanes = idle_lanes(job.platform)
    is_priority = np.array(
        [resource.discipline is Discipline.PRIORITY for resource in job.platform.resources]
    )
    lanes["heap_base"] = (np.cumsum(is_priority) - is_priority) * num_tasks
    return EngineRows(
        tasks=job.room.empty("engine tasks", num_tasks, TASK),
        times=job.room.empty("times", (3, num_tasks), np.int64),
        dependencies=job.draft.dependencies,
        lanes=lanes,
        heap=job.room.empty("heap", num_tasks * max(1, int(is_priority.sum())), ENTRY),
        factors=active_factors(job.platform),
        clock=np.zeros(CLOCK_SIZE, np.int64),
    )


def timeline_of(job: Job, rows: EngineRows, first: int, end: int) -> Timeline:
    """Return the timeline of the tasks with numbers from ``first`` to ``end`` - 1."""
    return Timeline(
        platform=job.platform,
        tasks=table(job.draft, first, end, job.room),
        start_ns=rows.times[START, first:end],
        end_ns=rows.times[END, first:end],
        busy_ns=rows.times[BUSY, first:end],
        is_dropped=rows.tasks["state"][first:end] == DROPPED,
    )


def table(draft: Draft, first: int, end: int, room: Room = OWN_MEMORY) -> TaskTable:
    """Return the table of the emitted tasks with numbers from ``first`` to ``end`` - 1."""
    number = end - first
    before = int(draft.rows[first - 1]["end_of_dependencies"]) if first else 0
    offsets = room.empty("offsets", number + 1, np.int64)
    offsets[0] = 0
    plain = {name: room.empty(name, number, ROW[name]) for name in _PLAIN}
    _spread(draft.rows[first:end], before, offsets[1:], tuple(plain.values()))
    return TaskTable(
        dependency_offsets=offsets,
        dependencies=draft.dependencies[before : before + int(offsets[-1])],
        **plain,
    )


def submit(draft: Draft, first: int, session: Session) -> int:
    """Submit the tasks emitted from number ``first`` on; return how many are submitted by now."""
    end = int(draft.state[N])
    session.submit(table(draft, first, end))
    return end


_PLAIN = (
    "resource",
    "duration_ns",
    "priority",
    "num_chunks",
    "kind",
    "step",
    "layer",
    "expert",
    "num_bytes",
)
"""Columns that a task table and ROW have in common."""


@kernel
def _spread(rows: Any, before: int, ends: Any, plain: Any) -> None:
    """Copy records to columns; write the end of each record's dependencies, counted from
    ``before``.
    """
    resource, duration_ns, priority, num_chunks, kind, step, layer, expert, num_bytes = plain
    for task in range(len(rows)):
        row = rows[task]
        resource[task] = row.resource
        duration_ns[task] = row.duration_ns
        priority[task] = row.priority
        num_chunks[task] = row.num_chunks
        kind[task] = row.kind
        step[task] = row.step
        layer[task] = row.layer
        expert[task] = row.expert
        num_bytes[task] = row.num_bytes
        ends[task] = row.end_of_dependencies - before
