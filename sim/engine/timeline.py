"""Timelines: the start and end of every task, and the figures that follow from them."""

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sim.engine.program import Platform
from sim.engine.task import TaskTable


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Start and end of every task (int64 ns), in sequence order.

    ``busy_ns`` is how long a task held its resource: end − start, less the time a chunked task
    waited at its borders. A dropped task starts and ends at the instant it was dropped and was
    never busy.
    """

    platform: Platform
    tasks: TaskTable
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    busy_ns: NDArray[np.int64]
    is_dropped: NDArray[np.bool_]

    @cached_property
    def makespan_ns(self) -> int:
        """When the last task ended; 0 for no task."""
        return int(self.end_ns.max(initial=0))

    @cached_property
    def digest(self) -> str:
        """A hash over (resource, start, end, kind, layer, expert) of every task in sequence order."""
        made = hashlib.sha256()
        made.update(digest_rows(self))
        return shown_digest(made)

    def up_to(self, count: int) -> "Timeline":
        """Return the timeline of the first ``count`` tasks."""
        tasks = self.tasks
        columns = {
            item.name: getattr(tasks, item.name)[:count]
            for item in fields(tasks)
            if not item.name.startswith("dependenc")
        }
        offsets = tasks.dependency_offsets[: count + 1]
        first = replace(
            tasks,
            dependency_offsets=offsets,
            dependencies=tasks.dependencies[: int(offsets[-1])],
            **columns,
        )
        return Timeline(
            platform=self.platform,
            tasks=first,
            start_ns=self.start_ns[:count],
            end_ns=self.end_ns[:count],
            busy_ns=self.busy_ns[:count],
            is_dropped=self.is_dropped[:count],
        )

    def busy_by_resource_ns(self) -> dict[str, int]:
        """Total time each resource was held, by name."""
        totals = np.zeros(len(self.platform.resources), np.int64)
        np.add.at(totals, self.tasks.resource, self.busy_ns)
        return {
            resource.name: int(total)
            for resource, total in zip(self.platform.resources, totals, strict=True)
        }


def digest_rows(timeline: Timeline, before_ns: int = 0) -> memoryview:
    """Return the bytes that the digest hashes, with ``before_ns`` added to every start and end."""
    tasks = timeline.tasks
    columns = (
        tasks.resource,
        timeline.start_ns + before_ns,
        timeline.end_ns + before_ns,
        tasks.kind,
        tasks.layer,
        tasks.expert,
    )
    rows = np.empty((len(tasks), len(columns)), "<i8")
    for place, column in enumerate(columns):
        rows[:, place] = column
    return rows.data


def shown_digest(made: "hashlib._Hash") -> str:
    """Return the first 16 hexadecimal digits of a hash, which are shown as the digest."""
    return made.hexdigest()[:16]
