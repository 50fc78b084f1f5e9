"""The checks of ``submission.py``, compiled: tables of millions of tasks, and thousands of small
ones, pass at next to no cost.
"""

from typing import Any

from sim.engine.compilation import inner, kernel
from sim.engine.state import ACCEPTED, HEAP_TOO_SMALL, REFUSED
from sim.engine.submission import CHUNKS_LIMIT, DURATION_LIMIT_NS

Column = Any
"""A one-dimensional array of integers."""


@inner
def _are_columns_acceptable(
    resource: Column, duration: Column, num_chunks: Column, offsets: Column, num_resources: int
) -> bool:
    """Loops without a way out, so that they are vectorised."""
    is_good = True
    for row in range(len(resource)):
        is_good &= (
            (resource[row] >= 0)
            & (resource[row] < num_resources)
            & (duration[row] >= 0)
            & (duration[row] < DURATION_LIMIT_NS)
        )
    for row in range(len(resource)):
        is_good &= (
            (num_chunks[row] >= 1)
            & (num_chunks[row] <= CHUNKS_LIMIT)
            & (offsets[row] <= offsets[row + 1])
        )
    return is_good


@inner
def _point_backwards(offsets: Column, dependencies: Column, first: int) -> bool:
    """Whether all dependencies have smaller numbers than their tasks; a sign bit gathers what has
    not.
    """
    gathered = 0
    for row in range(len(offsets) - 1):
        for place in range(offsets[row], offsets[row + 1]):
            gathered |= dependencies[place] | (first + row - 1 - dependencies[place])
    return gathered >= 0


@kernel
def accept(
    resource: Column,
    duration: Column,
    num_chunks: Column,
    offsets: Column,
    dependencies: Column,
    first: int,
    num_resources: int,
    heap_room: Column,
) -> int:
    """Whether those tasks, the first of which gets number ``first``, can be run, and if so whether
    their heaps have room.

    ``check_tasks`` says what is wrong with refused ones. ``heap_room`` is the number of free
    entries by resource, and becomes what is left; it is empty where no heap is needed.
    """
    n = len(resource)
    if (
        len(duration) != n
        or len(num_chunks) != n
        or len(offsets) != n + 1
        or offsets[0] != 0
        or offsets[n] != len(dependencies)
    ):
        return REFUSED
    if not _are_columns_acceptable(
        resource, duration, num_chunks, offsets, num_resources
    ) or not _point_backwards(offsets, dependencies, first):
        return REFUSED
    if len(heap_room) == 0:
        return ACCEPTED
    for row in range(n):
        heap_room[resource[row]] -= 1
    for index in range(num_resources):
        if heap_room[index] < 0:
            return HEAP_TOO_SMALL
    return ACCEPTED
