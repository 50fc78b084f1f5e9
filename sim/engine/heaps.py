"""Compiled heaps of ready tasks, one for each priority resource.

All heaps lie in one array, each from the ``heap_base`` of its lane on. The heaps are binary: the
children of a slot are the slots 2 · slot + 1 and 2 · slot + 2.
"""

from typing import Any

import numpy as np

from sim.engine.compilation import inner

Rows = Any
"""An array of records, or one record; numba knows their fields, type checkers do not."""


@inner
def at(rows: Rows, index: int) -> Rows:
    """The row at an index that is not negative."""
    # Without the question whether to count from the end, the event loop takes a sixth less.
    return rows[np.uint64(index)]


@inner
def _goes_before(entry: Rows, priority: int, requeue: int, number: int) -> bool:
    """Return whether an entry goes before one of that priority, requeue and number."""
    if entry.priority != priority:
        return bool(entry.priority < priority)
    if entry.requeue != requeue:
        return bool(entry.requeue < requeue)
    return bool(entry.number < number)


@inner
def _put(entry: Rows, priority: int, requeue: int, number: int) -> None:
    entry.priority = priority
    entry.requeue = requeue
    entry.number = number


@inner
def _sift_up(heap: Rows, base: int, slot: int, priority: int, requeue: int, number: int) -> None:
    while slot > 0:
        parent = (slot - 1) >> 1
        above = at(heap, base + parent)
        if _goes_before(above, priority, requeue, number):
            break
        _put(at(heap, base + slot), above.priority, above.requeue, above.number)
        slot = parent
    _put(at(heap, base + slot), priority, requeue, number)


@inner
def push(lane: Rows, heap: Rows, priority: int, requeue: int, number: int) -> None:
    """Push a ready task onto the heap of its lane."""
    lane.heap_size += 1
    _sift_up(heap, lane.heap_base, lane.heap_size - 1, priority, requeue, number)


@inner
def remove(lane: Rows, heap: Rows, slot: int) -> None:
    """Remove the entry at a slot.

    The last entry of the heap takes that slot and sinks or rises to its place.
    """
    lane.heap_size -= 1
    base = lane.heap_base
    size = lane.heap_size
    if slot == size:
        return
    last = at(heap, base + size)
    priority = last.priority
    requeue = last.requeue
    number = last.number
    while True:
        child = 2 * slot + 1
        if child >= size:
            break
        if child + 1 < size:
            right = at(heap, base + child + 1)
            if _goes_before(
                right,
                at(heap, base + child).priority,
                at(heap, base + child).requeue,
                at(heap, base + child).number,
            ):
                child += 1
        below = at(heap, base + child)
        if not _goes_before(below, priority, requeue, number):
            break
        _put(at(heap, base + slot), below.priority, below.requeue, below.number)
        slot = child
    _sift_up(heap, base, slot, priority, requeue, number)


@inner
def slot_of(lane: Rows, heap: Rows, number: int) -> int:
    """Return the slot of a task in the heap of its lane; the task must be in that heap."""
    # A promotion or a drop looks once; keeping the place of every task up to date would cost the
    # event loop at each move of an entry.
    slot = 0
    while heap[lane.heap_base + slot].number != number:
        slot += 1
    return slot
