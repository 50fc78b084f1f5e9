"""The event-driven engine, compiled: one loop over instants, for programs and processes, with and
without interference.

Same meaning as ``reference.py``. Arrays: ``tasks``, ``lanes``, ``heap`` hold the rows of
``state.py``; ``times`` the starts, ends and busy times; ``dependencies`` the task numbers of all
tasks; ``clock`` the counters; ``factors`` is R x R, or 0 x 0 without interference.
"""

from typing import Any

import numpy as np

from sim.engine.compilation import inner, kernel
from sim.engine.program import FULL_RATE
from sim.engine.state import (
    AWAITED,
    BUSY,
    DONE,
    DROPPED,
    END,
    FINISHED,
    NEVER,
    NEW,
    NEXT_BORDER,
    NOBODY,
    NOW,
    NUM_DEPENDENCIES,
    NUM_REQUEUES,
    NUM_TASKS,
    READY,
    START,
    STARTED,
    TOO_LATE,
    WATCHING,
)
from sim.engine.submission import TIME_LIMIT_NS

RATE_BITS = FULL_RATE.bit_length() - 1

Rows = Any
"""An array of records, or one record; numba knows their fields, type checkers do not."""


@inner
def _at(rows: Rows, index: int) -> Rows:
    """The row at an index that is not negative: not being asked for that saves a sixth of the event
    loop's time.
    """
    return rows[np.uint64(index)]


@inner
def _goes_before(entry: Rows, priority: int, requeue: int, number: int) -> bool:
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
        above = _at(heap, base + parent)
        if _goes_before(above, priority, requeue, number):
            break
        _put(_at(heap, base + slot), above.priority, above.requeue, above.number)
        slot = parent
    _put(_at(heap, base + slot), priority, requeue, number)


@inner
def _push(lane: Rows, heap: Rows, priority: int, requeue: int, number: int) -> None:
    lane.heap_size += 1
    _sift_up(heap, lane.heap_base, lane.heap_size - 1, priority, requeue, number)


@inner
def _remove(lane: Rows, heap: Rows, slot: int) -> None:
    """Take the entry at that slot out: the last one takes its place, sinks below smaller ones, or
    rises.
    """
    lane.heap_size -= 1
    base = lane.heap_base
    size = lane.heap_size
    if slot == size:
        return
    last = _at(heap, base + size)
    priority = last.priority
    requeue = last.requeue
    number = last.number
    while True:
        child = 2 * slot + 1
        if child >= size:
            break
        if child + 1 < size:
            right = _at(heap, base + child + 1)
            if _goes_before(
                right,
                _at(heap, base + child).priority,
                _at(heap, base + child).requeue,
                _at(heap, base + child).number,
            ):
                child += 1
        below = _at(heap, base + child)
        if not _goes_before(below, priority, requeue, number):
            break
        _put(_at(heap, base + slot), below.priority, below.requeue, below.number)
        slot = child
    _sift_up(heap, base, slot, priority, requeue, number)


@inner
def _slot(lane: Rows, heap: Rows, number: int) -> int:
    slot = 0
    while heap[lane.heap_base + slot].number != number:
        slot += 1
    return slot


@inner
def _worked(task: Rows, num_chunks: int) -> int:
    """Work done when so many chunks are."""
    if task.num_chunks == 1:
        return int(task.duration * num_chunks)
    return int(task.duration * num_chunks // task.num_chunks)


@inner
def _make_ready(tasks: Rows, lane: Rows, heap: Rows, clock: Rows, number: int) -> None:
    """Put a fresh task in the heap; what runs now, if over several chunks, yields to it at the next
    border.
    """
    priority = _at(tasks, number).priority
    _push(lane, heap, priority, 0, number)
    if lane.running == NOBODY:
        return
    task = _at(tasks, lane.running)
    done = task.chunks_done
    if lane.until <= done + 1 or priority > task.priority:
        return
    least_work = clock[NEXT_BORDER] - lane.since + _worked(task, done)
    border = (
        task.num_chunks * least_work + task.duration - 1
    ) // task.duration  # past ``done``, whose border is over
    lane.until = border
    lane.due = lane.since + _worked(task, border) - _worked(task, done)


@inner
def _look(
    tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int
) -> None:
    """Watch the next unfinished dependency, or be ready."""
    task = _at(tasks, number)
    while task.num_unchecked > 0:
        task.num_unchecked -= 1
        other = _at(tasks, dependencies[task.first_dependency + task.num_unchecked])
        if other.state < DONE:
            task.next_watcher = other.watcher
            other.watcher = number
            task.state = WATCHING
            return
    task.state = READY
    lane = _at(lanes, task.resource)
    if lane.is_priority:
        _make_ready(tasks, lane, heap, clock, number)


@inner
def _release(
    tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int
) -> None:
    watcher = _at(tasks, number).watcher
    while watcher != NOBODY:
        following = _at(tasks, watcher).next_watcher
        if _at(tasks, watcher).state == WATCHING:
            _look(tasks, dependencies, lanes, heap, clock, watcher)
        watcher = following


@kernel
def admit(
    resource: Rows,
    duration: Rows,
    priority: Rows,
    num_chunks: Rows,
    offsets: Rows,
    num_dependencies: int,
    tasks: Rows,
    times: Rows,
    dependencies: Rows,
    lanes: Rows,
    heap: Rows,
    clock: Rows,
) -> None:
    """Append acceptable tasks, to rows and heaps that have room; ``dependencies`` has theirs
    already, after those of earlier tasks.
    """
    for row in range(len(resource)):
        number = clock[NUM_TASKS] + row
        task = _at(tasks, number)
        lane = _at(lanes, resource[row])
        task.duration = duration[row]
        task.priority = priority[row]
        task.resource = resource[row]
        task.num_chunks = num_chunks[row] if lane.is_priority else 1
        task.first_dependency = clock[NUM_DEPENDENCIES] + offsets[row]
        task.num_unchecked = offsets[row + 1] - offsets[row]
        task.chunks_done = 0
        task.watcher = NOBODY
        task.next_watcher = NOBODY
        task.next_in_order = NOBODY
        task.state = NEW
        task.is_awaited = 0
        times[BUSY, number] = 0
        if lane.is_priority:
            _look(tasks, dependencies, lanes, heap, clock, number)
            continue
        if lane.head == NOBODY:
            lane.head = number
        else:
            _at(tasks, lane.tail).next_in_order = number
        lane.tail = number
    clock[NUM_TASKS] += len(resource)
    clock[NUM_DEPENDENCIES] += num_dependencies


@kernel
def promote(tasks: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int, priority: int) -> bool:
    """Another priority for a task that has not started; False if it has, or was dropped."""
    task = _at(tasks, number)
    if task.state >= STARTED:
        return False
    task.priority = priority
    lane = _at(lanes, task.resource)
    if lane.is_priority and task.state == READY:
        _remove(lane, heap, _slot(lane, heap, number))
        _make_ready(tasks, lane, heap, clock, number)
    return True


@kernel
def drop(
    tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int
) -> bool:
    """End a task that has not started; False if it has, or was dropped."""
    task = _at(tasks, number)
    if task.state >= STARTED:
        return False
    lane = _at(lanes, task.resource)
    if lane.is_priority and task.state == READY:
        _remove(lane, heap, _slot(lane, heap, number))
    task.state = DROPPED
    times[START, number] = times[END, number] = clock[NOW]
    _release(tasks, dependencies, lanes, heap, clock, number)
    return True


@inner
def _head(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows) -> int:
    """Take the first task of an in-order lane, if it is ready."""
    while lane.head != NOBODY and _at(tasks, lane.head).state == DROPPED:
        lane.head = _at(tasks, lane.head).next_in_order
    number = lane.head
    if number == NOBODY:
        return NOBODY
    if _at(tasks, number).state == NEW:
        _look(tasks, dependencies, lanes, heap, clock, number)
    if _at(tasks, number).state != READY:
        return NOBODY
    lane.head = _at(tasks, number).next_in_order
    return int(number)


@inner
def _next(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows) -> int:
    """Take the task that an idle lane runs next, if one is ready."""
    if not lane.is_priority:
        return _head(tasks, dependencies, lanes, heap, clock, lane)
    if lane.heap_size == 0:
        return NOBODY
    number = _at(heap, lane.heap_base).number
    _remove(lane, heap, 0)
    return int(number)


@inner
def _until(task: Rows, lane: Rows, heap: Rows, can_run_on: bool) -> int:
    """How many chunks are done when the piece that starts now ends: one more, or all, while nobody
    waits to go before the rest.

    With interference each border rounds the remaining work, and chunks of no length take a round
    each: those stop everywhere.
    """
    if (
        not can_run_on
        or task.duration < task.num_chunks
        or (lane.heap_size > 0 and _at(heap, lane.heap_base).priority <= task.priority)
    ):
        return int(task.chunks_done + 1)
    return int(task.num_chunks)


@inner
def _start(
    tasks: Rows,
    times: Rows,
    dependencies: Rows,
    lanes: Rows,
    heap: Rows,
    clock: Rows,
    lane: Rows,
    has_interference: bool,
) -> None:
    """Start what an idle lane can start. Without interference a piece ends when its work does."""
    number = _next(tasks, dependencies, lanes, heap, clock, lane)
    now = clock[NOW]
    if number == NOBODY:
        return
    task = _at(tasks, number)
    if task.state == READY:
        task.state = STARTED
        times[START, number] = now
    lane.until = _until(task, lane, heap, not has_interference)
    piece = _worked(task, lane.until) - _worked(task, task.chunks_done)
    lane.running = number
    lane.since = now
    lane.due = now + piece
    if has_interference:
        lane.remaining = piece << RATE_BITS
        lane.rate = 0


@inner
def _start_all(
    tasks: Rows,
    times: Rows,
    dependencies: Rows,
    lanes: Rows,
    heap: Rows,
    clock: Rows,
    has_interference: bool,
) -> bool:
    """Start what can start; whether any of it ends at this instant."""
    is_any_due = False
    for index in range(len(lanes)):
        lane = _at(lanes, index)
        if lane.running == NOBODY:
            _start(tasks, times, dependencies, lanes, heap, clock, lane, has_interference)
            is_any_due |= lane.due == clock[NOW]
    clock[NEXT_BORDER] = clock[NOW] + 1
    return is_any_due


@inner
def _retime(lanes: Rows, factors: Rows, now: int) -> None:
    """Once an instant has settled: the rate of each busy lane, and when its piece now ends."""
    has_changed = False
    for index in range(len(lanes)):
        is_busy = 1 if _at(lanes, index).running != NOBODY else 0
        if _at(lanes, index).was_busy != is_busy:
            _at(lanes, index).was_busy = is_busy
            has_changed = True
    for index in range(len(lanes)):
        lane = _at(lanes, index)
        if not lane.was_busy:
            continue
        if has_changed:
            rate = FULL_RATE
            for other in range(len(lanes)):
                if _at(lanes, other).was_busy and other != index:
                    rate = max(1, (rate * factors[index, other]) >> RATE_BITS)
            lane.settled_rate = rate
        if lane.rate != lane.settled_rate:
            if lane.rate != 0:
                lane.remaining = max(0, lane.remaining - lane.rate * (now - lane.rated))
            lane.rate = lane.settled_rate
            lane.rated = now
            lane.due = now + (lane.remaining + lane.rate - 1) // lane.rate


@inner
def _first_due(lanes: Rows) -> int:
    """The busy lane whose piece ends first, of several the one with the lowest task number."""
    first = NOBODY
    due = NEVER
    number = NOBODY
    for index in range(len(lanes)):
        lane = _at(lanes, index)
        if lane.due < due or (lane.due == due and lane.running < number):
            first = index
            due = lane.due
            number = lane.running
    return first


@inner
def _end_piece(
    tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows
) -> bool:
    """End what a lane runs; whether the process awaits it."""
    number = lane.running
    now = clock[NOW]
    lane.running = NOBODY
    lane.due = NEVER
    task = _at(tasks, number)
    times[BUSY, number] += now - lane.since
    task.chunks_done = lane.until
    if task.chunks_done < task.num_chunks:
        clock[NUM_REQUEUES] += 1
        _push(lane, heap, task.priority, clock[NUM_REQUEUES], number)
        return False
    times[END, number] = now
    task.state = DONE
    _release(tasks, dependencies, lanes, heap, clock, number)
    return bool(task.is_awaited)


@inner
def _advance(
    tasks: Rows,
    times: Rows,
    dependencies: Rows,
    lanes: Rows,
    heap: Rows,
    factors: Rows,
    clock: Rows,
) -> int:
    has_interference = factors.size > 0
    first = _first_due(lanes)
    while True:
        is_awaited = False
        while first != NOBODY and _at(lanes, first).due == clock[NOW]:
            if _end_piece(tasks, times, dependencies, lanes, heap, clock, _at(lanes, first)):
                is_awaited = True
            first = _first_due(lanes)
        if is_awaited:
            return AWAITED
        is_any_due = _start_all(tasks, times, dependencies, lanes, heap, clock, has_interference)
        if has_interference and not is_any_due:
            _retime(lanes, factors, clock[NOW])
        first = _first_due(lanes)
        if first == NOBODY:
            return FINISHED
        if _at(lanes, first).due >= TIME_LIMIT_NS:
            return TOO_LATE
        if not is_any_due:
            clock[NOW] = clock[NEXT_BORDER] = _at(lanes, first).due


@kernel
def run(
    tasks: Rows,
    times: Rows,
    dependencies: Rows,
    lanes: Rows,
    heap: Rows,
    factors: Rows,
    clock: Rows,
    wait: Rows,
) -> int:
    """From the starts of this instant on, until a task of ``wait`` is done (at once, if one is) or
    all are.
    """
    for place in range(len(wait)):
        if _at(tasks, wait[place]).state >= DONE:
            return AWAITED
    for place in range(len(wait)):
        _at(tasks, wait[place]).is_awaited = 1
    reason = _advance(tasks, times, dependencies, lanes, heap, factors, clock)
    for place in range(len(wait)):
        _at(tasks, wait[place]).is_awaited = 0
    return reason
