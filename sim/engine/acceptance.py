"""Compiled forms of the checks in ``submission.py``.

Their cost is negligible, for one table of millions of tasks and for thousands of small tables.
"""

from typing import Any

from sim.engine.compilation import inner, kernel
from sim.engine.state import ACCEPTED, HEAP_TOO_SMALL, REFUSED, EngineColumns
from sim.engine.submission import CHUNKS_LIMIT, DURATION_LIMIT_NS

Column = Any
"""A one-dimensional array of integers."""


@inner
def _are_columns_acceptable(columns: EngineColumns, num_resources: int) -> bool:
    """Return whether resources, durations and chunk counts are within limits and offsets never
    fall.
    """
    # Loops without a way out, so that they are vectorised.
    is_good = True
    for row in range(len(columns.resource)):
        is_good &= (
            (columns.resource[row] >= 0)
            & (columns.resource[row] < num_resources)
            & (columns.duration[row] >= 0)
            & (columns.duration[row] < DURATION_LIMIT_NS)
        )
    for row in range(len(columns.resource)):
        is_good &= (
            (columns.num_chunks[row] >= 1)
            & (columns.num_chunks[row] <= CHUNKS_LIMIT)
            & (columns.offsets[row] <= columns.offsets[row + 1])
        )
    return is_good


@inner
def _point_backwards(offsets: Column, dependencies: Column, first: int) -> bool:
    """Return whether every dependency is at least 0 and below the number of its task.

    ``first`` is the number of the first task.
    """
    # Both differences are at least 0 where all is well, so that one sign bit gathers what is not.
    gathered = 0
    for row in range(len(offsets) - 1):
        for place in range(offsets[row], offsets[row + 1]):
            gathered |= dependencies[place] | (first + row - 1 - dependencies[place])
    return gathered >= 0


@kernel
def accept(columns: EngineColumns, first: int, num_resources: int, heap_room: Column) -> int:
    """Return REFUSED, ACCEPTED or HEAP_TOO_SMALL for tasks that are numbered from ``first`` on.

    ``check_tasks`` names the fault of refused tasks. ``heap_room`` holds the number of free heap
    entries of each resource. One entry is subtracted for every task that is not refused. An empty
    ``heap_room`` says that no heap is needed.
    """
    n = len(columns.resource)
    offsets = columns.offsets
    if (
        len(columns.duration) != n
        or len(columns.num_chunks) != n
        or len(offsets) != n + 1
        or offsets[0] != 0
        or offsets[n] != len(columns.dependencies)
    ):
        return REFUSED
    if not _are_columns_acceptable(columns, num_resources) or not _point_backwards(
        offsets, columns.dependencies, first
    ):
        return REFUSED
    if len(heap_room) == 0:
        return ACCEPTED
    for row in range(n):
        heap_room[columns.resource[row]] -= 1
    for index in range(num_resources):
        if heap_room[index] < 0:
            return HEAP_TOO_SMALL
    return ACCEPTED
