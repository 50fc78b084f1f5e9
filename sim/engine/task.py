"""Tasks: what runs, on which resource, for how long, after what.

Many tasks are one table of columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""Marks "no layer" and "no expert" in the integer columns of a table, where None cannot stand."""


class Discipline(StrEnum):
    """How a resource picks its next task: see ``docs/explanation/time.md``."""

    IN_ORDER = "in_order"
    PRIORITY = "priority"


class TaskKind(IntEnum):
    """What a task is. The numbers are part of the timeline's digest: append, never renumber."""

    ATTENTION = 0
    GATE = 1
    DENSE_FFN = 2
    SHARED_EXPERT = 3
    EXPERT = 4
    HEAD = 5
    FETCH = 6
    LAYER_FETCH = 7
    EVICT = 8
    ACTIVATION_COPY = 9
    PREFETCH = 10
    OVERHEAD = 11
    LOOKUP = 12
    OTHER = 13
    SLOT_FETCH = 14
    """A copy into a slot of the cache, where FETCH goes through a staging buffer."""
    PROJECTION = 15
    """The matrix products before or after an attention that runs on another resource."""
    PAGE = 16
    """A part of the weights of a layer that are not resident, copied ahead."""
    KV_COPY = 17
    """A copy of a prompt's KV cache to host memory."""
    EARLY_FETCH = 18
    """A copy into a staging buffer, before the gate, of an expert that is almost surely selected.
    """
    DISK_READ = 19
    """A read of an expert from the disk into host memory, which cannot hold all experts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that runs one task at a time: an in-order GPU stream, a copy engine, the CPU pool,
    a queue.
    """

    name: str
    discipline: Discipline = Discipline.IN_ORDER


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTable:
    """n tasks in the order of their sequence numbers, one column a field, each of length n unless
    said otherwise.

    ``dependencies[dependency_offsets[i]:dependency_offsets[i + 1]]`` are the sequence numbers that
    task i waits for, all smaller than its own; ``dependency_offsets`` has length n + 1.
    ``duration_ns`` is at full rate; a smaller ``priority`` goes first; a task of ``num_chunks`` > 1
    yields at chunk borders on a priority resource.
    """

    resource: NDArray[np.int16]
    duration_ns: NDArray[np.int64]
    priority: NDArray[np.int32]
    num_chunks: NDArray[np.int32]
    dependency_offsets: NDArray[np.int64]
    dependencies: NDArray[np.int64]
    kind: NDArray[np.uint8]
    step: NDArray[np.int32]
    layer: NDArray[np.int16]
    expert: NDArray[np.int32]
    num_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task, for building small tables by hand; ``resource`` is an index, ``after`` holds
    sequence numbers.
    """

    resource: int
    duration_ns: int
    after: tuple[int, ...] = ()
    priority: int = 0
    num_chunks: int = 1
    kind: TaskKind = TaskKind.OTHER
    step: int = 0
    layer: int = NONE
    expert: int = NONE
    num_bytes: int = 0


def task_table(tasks: Sequence[Task]) -> TaskTable:
    """Return the table of the given tasks, in that order.

    Sequence numbers start at 0. If ``after`` refers to earlier tables, they go on from those
    tables.
    """
    offsets = np.zeros(len(tasks) + 1, np.int64)
    np.cumsum([len(task.after) for task in tasks], out=offsets[1:])
    columns = {
        field.name: np.array(
            [getattr(task, field.name) for task in tasks], dtype=_DTYPES[field.name]
        )
        for field in fields(Task)
        if field.name != "after"
    }
    dependencies = np.array([number for task in tasks for number in task.after], np.int64)
    return TaskTable(dependency_offsets=offsets, dependencies=dependencies, **columns)


_DTYPES = {
    "resource": np.int16,
    "duration_ns": np.int64,
    "priority": np.int32,
    "num_chunks": np.int32,
    "kind": np.uint8,
    "step": np.int32,
    "layer": np.int16,
    "expert": np.int32,
    "num_bytes": np.int64,
}
