"""The event-driven engine, compiled: one loop over instants, for programs and processes, with and without interference.

Same meaning as ``reference.py``. Arrays: ``tasks``, ``lanes``, ``heap`` hold the rows of ``state.py``; ``times`` the starts, ends and
busy times; ``dependencies`` the task numbers of all tasks; ``clock`` the counters; ``factors`` is R x R, or 0 x 0 without interference.
"""

from typing import Any

from sim.engine.compilation import inner, kernel
from sim.engine.state import (
    ACCEPTED,
    AWAITED,
    BUSY,
    DONE,
    DROPPED,
    END,
    FINISHED,
    HEAP_TOO_SMALL,
    NEVER,
    NEW,
    NEXT_BORDER,
    NO_SUCH_TASK,
    NOBODY,
    NOW,
    NUM_DEPENDENCIES,
    NUM_REQUEUES,
    NUM_TASKS,
    READY,
    REFUSED,
    START,
    STARTED,
    TOO_LATE,
    WATCHING,
)
from sim.engine.submission import CHUNKS_LIMIT, DURATION_LIMIT_NS, TIME_LIMIT_NS
from sim.program import FULL_RATE

RATE_BITS = FULL_RATE.bit_length() - 1

Rows = Any
"""An array of records, or one record; numba knows their fields, type checkers do not."""


@inner
def _are_columns_acceptable(resource: Rows, duration: Rows, num_chunks: Rows, offsets: Rows, num_resources: int) -> bool:
    """Loops without a way out, so that they are vectorised."""
    is_good = True
    for row in range(len(resource)):
        is_good &= (resource[row] >= 0) & (resource[row] < num_resources) & (duration[row] >= 0) & (duration[row] < DURATION_LIMIT_NS)
    for row in range(len(resource)):
        is_good &= (num_chunks[row] >= 1) & (num_chunks[row] <= CHUNKS_LIMIT) & (offsets[row] <= offsets[row + 1])
    return is_good


@inner
def _point_backwards(offsets: Rows, dependencies: Rows, first: int) -> bool:
    """Whether all dependencies have smaller numbers than their tasks; a sign bit gathers what has not."""
    gathered = 0
    for row in range(len(offsets) - 1):
        for place in range(offsets[row], offsets[row + 1]):
            gathered |= dependencies[place] | (first + row - 1 - dependencies[place])
    return gathered >= 0


@kernel
def accept(
    resource: Rows, duration: Rows, num_chunks: Rows, offsets: Rows, dependencies: Rows, first: int, num_resources: int, heap_room: Rows
) -> int:
    """Whether those tasks, the first of which gets number ``first``, can be run, and if so whether their heaps have room.

    ``check_tasks`` says what is wrong with refused ones. ``heap_room`` is the number of free entries by resource, and becomes what
    is left; it is empty where no heap is needed.
    """
    n = len(resource)
    if len(duration) != n or len(num_chunks) != n or len(offsets) != n + 1 or offsets[0] != 0 or offsets[n] != len(dependencies):
        return REFUSED
    if not _are_columns_acceptable(resource, duration, num_chunks, offsets, num_resources) or not _point_backwards(
        offsets, dependencies, first
    ):
        return REFUSED
    if len(heap_room) == 0:
        return ACCEPTED
    for row in range(n):
        heap_room[resource[row]] -= 1
    for index in range(num_resources):
        if heap_room[index] < 0:
            return HEAP_TOO_SMALL
    return ACCEPTED


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
        above = heap[base + parent]
        if _goes_before(above, priority, requeue, number):
            break
        _put(heap[base + slot], above.priority, above.requeue, above.number)
        slot = parent
    _put(heap[base + slot], priority, requeue, number)


@inner
def _push(lane: Rows, heap: Rows, priority: int, requeue: int, number: int) -> None:
    lane.heap_size += 1
    _sift_up(heap, lane.heap_base, lane.heap_size - 1, priority, requeue, number)


@inner
def _remove(lane: Rows, heap: Rows, slot: int) -> None:
    """Take the entry at that slot out: the last one takes its place, sinks below smaller ones, or rises."""
    lane.heap_size -= 1
    base, size = lane.heap_base, lane.heap_size
    if slot == size:
        return
    last = heap[base + size]
    priority, requeue, number = last.priority, last.requeue, last.number
    while True:
        child = 2 * slot + 1
        if child >= size:
            break
        if child + 1 < size:
            right = heap[base + child + 1]
            if _goes_before(right, heap[base + child].priority, heap[base + child].requeue, heap[base + child].number):
                child += 1
        below = heap[base + child]
        if not _goes_before(below, priority, requeue, number):
            break
        _put(heap[base + slot], below.priority, below.requeue, below.number)
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
    """Put a fresh task in the heap; what runs now, if over several chunks, yields to it at the next border."""
    priority = tasks[number].priority
    _push(lane, heap, priority, 0, number)
    if lane.running == NOBODY:
        return
    task = tasks[lane.running]
    done = task.chunks_done
    if lane.until <= done + 1 or priority > task.priority:
        return
    least_work = clock[NEXT_BORDER] - lane.since + _worked(task, done)
    border = (task.num_chunks * least_work + task.duration - 1) // task.duration  # past ``done``, whose border is over
    lane.until = border
    lane.due = lane.since + _worked(task, border) - _worked(task, done)


@inner
def _look(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int) -> None:
    """Watch the next unfinished dependency, or be ready."""
    task = tasks[number]
    while task.num_unchecked > 0:
        task.num_unchecked -= 1
        other = tasks[dependencies[task.first_dependency + task.num_unchecked]]
        if other.state < DONE:
            task.next_watcher = other.watcher
            other.watcher = number
            task.state = WATCHING
            return
    task.state = READY
    lane = lanes[task.resource]
    if lane.is_priority:
        _make_ready(tasks, lane, heap, clock, number)


@inner
def _release(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int) -> None:
    watcher = tasks[number].watcher
    while watcher != NOBODY:
        following = tasks[watcher].next_watcher
        if tasks[watcher].state == WATCHING:
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
    """Append acceptable tasks, to rows and heaps that have room; ``dependencies`` has theirs already, after those of earlier tasks."""
    for row in range(len(resource)):
        number = clock[NUM_TASKS] + row
        task, lane = tasks[number], lanes[resource[row]]
        task.duration, task.priority, task.resource = duration[row], priority[row], resource[row]
        task.num_chunks = num_chunks[row] if lane.is_priority else 1
        task.first_dependency = clock[NUM_DEPENDENCIES] + offsets[row]
        task.num_unchecked = offsets[row + 1] - offsets[row]
        task.chunks_done = 0
        task.watcher, task.next_watcher, task.next_in_order = NOBODY, NOBODY, NOBODY
        task.state, task.is_awaited = NEW, 0
        times[BUSY, number] = 0
        if lane.is_priority:
            _look(tasks, dependencies, lanes, heap, clock, number)
            continue
        if lane.head == NOBODY:
            lane.head = number
        else:
            tasks[lane.tail].next_in_order = number
        lane.tail = number
    clock[NUM_TASKS] += len(resource)
    clock[NUM_DEPENDENCIES] += num_dependencies


@kernel
def promote(tasks: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int, priority: int) -> bool:
    """Another priority for a task that has not started; False if it has, or was dropped."""
    task = tasks[number]
    if task.state >= STARTED:
        return False
    task.priority = priority
    lane = lanes[task.resource]
    if lane.is_priority and task.state == READY:
        _remove(lane, heap, _slot(lane, heap, number))
        _make_ready(tasks, lane, heap, clock, number)
    return True


@kernel
def drop(tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int) -> bool:
    """End a task that has not started; False if it has, or was dropped."""
    task = tasks[number]
    if task.state >= STARTED:
        return False
    lane = lanes[task.resource]
    if lane.is_priority and task.state == READY:
        _remove(lane, heap, _slot(lane, heap, number))
    task.state = DROPPED
    times[START, number] = times[END, number] = clock[NOW]
    _release(tasks, dependencies, lanes, heap, clock, number)
    return True


@inner
def _head(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows) -> int:
    """Take the first task of an in-order lane, if it is ready."""
    while lane.head != NOBODY and tasks[lane.head].state == DROPPED:
        lane.head = tasks[lane.head].next_in_order
    number = lane.head
    if number == NOBODY:
        return NOBODY
    if tasks[number].state == NEW:
        _look(tasks, dependencies, lanes, heap, clock, number)
    if tasks[number].state != READY:
        return NOBODY
    lane.head = tasks[number].next_in_order
    return int(number)


@inner
def _next(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows) -> int:
    """Take the task that an idle lane runs next, if one is ready."""
    if not lane.is_priority:
        return _head(tasks, dependencies, lanes, heap, clock, lane)
    if lane.heap_size == 0:
        return NOBODY
    number = heap[lane.heap_base].number
    _remove(lane, heap, 0)
    return int(number)


@inner
def _until(task: Rows, lane: Rows, heap: Rows, can_run_on: bool) -> int:
    """How many chunks are done when the piece that starts now ends: one more, or all, while nobody waits to go before the rest.

    With interference each border rounds the remaining work, and chunks of no length take a round each: those stop everywhere.
    """
    if not can_run_on or task.duration < task.num_chunks or (lane.heap_size > 0 and heap[lane.heap_base].priority <= task.priority):
        return int(task.chunks_done + 1)
    return int(task.num_chunks)


@inner
def _start(tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows, has_interference: bool) -> None:
    """Start what an idle lane can start. Without interference a piece ends when its work does."""
    number, now = _next(tasks, dependencies, lanes, heap, clock, lane), clock[NOW]
    if number == NOBODY:
        return
    task = tasks[number]
    if task.state == READY:
        task.state = STARTED
        times[START, number] = now
    lane.until = _until(task, lane, heap, not has_interference)
    piece = _worked(task, lane.until) - _worked(task, task.chunks_done)
    lane.running, lane.since, lane.due = number, now, now + piece
    if has_interference:
        lane.remaining, lane.rate = piece << RATE_BITS, 0


@inner
def _start_all(tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, has_interference: bool) -> int:
    """Start what can start; returns a lane whose piece ends first, as ``_first_due`` does, in the same loop for speed."""
    first, due = NOBODY, NEVER
    for index in range(len(lanes)):
        lane = lanes[index]
        if lane.running == NOBODY:
            _start(tasks, times, dependencies, lanes, heap, clock, lane, has_interference)
        if lane.due < due:
            first, due = index, lane.due
    clock[NEXT_BORDER] = clock[NOW] + 1
    return first


@inner
def _retime(lanes: Rows, factors: Rows, now: int) -> None:
    """Once an instant has settled: the rate of each busy lane, and when its piece now ends."""
    has_changed = False
    for index in range(len(lanes)):
        is_busy = 1 if lanes[index].running != NOBODY else 0
        if lanes[index].was_busy != is_busy:
            lanes[index].was_busy = is_busy
            has_changed = True
    for index in range(len(lanes)):
        lane = lanes[index]
        if not lane.was_busy:
            continue
        if has_changed:
            rate = FULL_RATE
            for other in range(len(lanes)):
                if lanes[other].was_busy and other != index:
                    rate = max(1, (rate * factors[index, other]) >> RATE_BITS)
            lane.settled_rate = rate
        if lane.rate != lane.settled_rate:
            if lane.rate != 0:
                lane.remaining = max(0, lane.remaining - lane.rate * (now - lane.rated))
            lane.rate, lane.rated = lane.settled_rate, now
            lane.due = now + (lane.remaining + lane.rate - 1) // lane.rate


@inner
def _first_due(lanes: Rows) -> int:
    """A busy lane whose piece ends first. Of several any will do: the order of completions in one round cannot be observed."""
    first, due = NOBODY, NEVER
    for index in range(len(lanes)):
        if lanes[index].due < due:
            first, due = index, lanes[index].due
    return first


@inner
def _end_piece(tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows) -> bool:
    """End what a lane runs; whether the process awaits it."""
    number, now = lane.running, clock[NOW]
    lane.running, lane.due = NOBODY, NEVER
    task = tasks[number]
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
def _advance(tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, factors: Rows, clock: Rows) -> int:
    has_interference = factors.size > 0
    first = _first_due(lanes)
    while True:
        is_awaited = False
        while first != NOBODY and lanes[first].due == clock[NOW]:
            if _end_piece(tasks, times, dependencies, lanes, heap, clock, lanes[first]):
                is_awaited = True
            first = _first_due(lanes)
        if is_awaited:
            return AWAITED
        first = _start_all(tasks, times, dependencies, lanes, heap, clock, has_interference)
        if first == NOBODY:
            return FINISHED
        if lanes[first].due == clock[NOW]:
            continue
        if has_interference:
            _retime(lanes, factors, clock[NOW])
            first = _first_due(lanes)
        if lanes[first].due >= TIME_LIMIT_NS:
            return TOO_LATE
        clock[NOW] = clock[NEXT_BORDER] = lanes[first].due


@kernel
def run(tasks: Rows, times: Rows, dependencies: Rows, lanes: Rows, heap: Rows, factors: Rows, clock: Rows, wait: Rows) -> int:
    """From the starts of this instant on, until a task of ``wait`` is done (at once, if one is) or all are."""
    for place in range(len(wait)):
        if not 0 <= wait[place] < clock[NUM_TASKS]:
            return NO_SUCH_TASK
    for place in range(len(wait)):
        if tasks[wait[place]].state >= DONE:
            return AWAITED
    for place in range(len(wait)):
        tasks[wait[place]].is_awaited = 1
    reason = _advance(tasks, times, dependencies, lanes, heap, factors, clock)
    for place in range(len(wait)):
        tasks[wait[place]].is_awaited = 0
    return reason
