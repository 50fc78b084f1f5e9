"""What happened: start and end of every task, and what can be read off them."""

import hashlib
from dataclasses import dataclass
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
        tasks = self.tasks
        columns = (
            tasks.resource,
            self.start_ns,
            self.end_ns,
            tasks.kind,
            tasks.layer,
            tasks.expert,
        )
        rows = np.empty((len(tasks), len(columns)), "<i8")
        for place, column in enumerate(columns):
            rows[:, place] = column
        return hashlib.sha256(rows.data).hexdigest()[:16]

    def busy_by_resource_ns(self) -> dict[str, int]:
        """Total time each resource was held, by name."""
        totals = np.zeros(len(self.platform.resources), np.int64)
        np.add.at(totals, self.tasks.resource, self.busy_ns)
        return {
            resource.name: int(total)
            for resource, total in zip(self.platform.resources, totals, strict=True)
        }
