"""What an engine is given of a run that is emitted as it goes, and what it makes of it."""

from typing import Protocol

import numpy as np

from sim.engine.fast import active_factors, idle_lanes
from sim.engine.program import Platform
from sim.engine.state import BUSY, CLOCK_SIZE, DROPPED, END, ENTRY, START, TASK, EngineRows
from sim.engine.task import Discipline
from sim.engine.timeline import Timeline
from sim.room import Room
from sim.step.lowering.draft import Draft
from sim.step.lowering.lower import table


class Job(Protocol):
    """A run's resources, its tasks so far with room for more, and where large arrays lie."""

    @property
    def platform(self) -> Platform:
        """The resources."""

    @property
    def draft(self) -> Draft:
        """The tasks."""

    @property
    def room(self) -> Room:
        """The memory."""


def fresh_rows(job: Job) -> EngineRows:
    """What the engine works on before the first task of a job."""
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
    """What happened to the tasks from number ``first`` up to ``end``."""
    return Timeline(
        platform=job.platform,
        tasks=table(job.draft, first, end, job.room),
        start_ns=rows.times[START, first:end],
        end_ns=rows.times[END, first:end],
        busy_ns=rows.times[BUSY, first:end],
        is_dropped=rows.tasks["state"][first:end] == DROPPED,
    )
