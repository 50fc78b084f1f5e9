"""The event-driven engine, compiled: one loop over instants, for programs and processes, with and without interference.

Same meaning as ``reference.py``. Arrays: ``tasks``, ``lanes``, ``heap`` hold the rows of ``state.py``; ``dependencies`` the task
numbers of all tasks; ``clock`` the counters; ``factors`` is R x R, or 0 x 0 without interference.
"""

from typing import Any

from sim.engine.compilation import inner, kernel
from sim.engine.state import (
    ADMITTED,
    AWAITED,
    DONE,
    DROPPED,
    FINISHED,
    HEAP_TOO_SMALL,
    NEVER,
    NEW,
    NO_SUCH_TASK,
    NOBODY,
    NOW,
    NUM_DEPENDENCIES,
    NUM_REQUEUES,
    NUM_TASKS,
    READY,
    REFUSED,
    STARTED,
    TOO_LATE,
    WATCHING,
)
from sim.engine.submission import CHUNKS_LIMIT, DURATION_LIMIT_NS, TIME_LIMIT_NS
from sim.program import FULL_RATE

RATE_BITS = FULL_RATE.bit_length() - 1

Rows = Any
"""An array of records, or one record; numba knows their fields, type checkers do not."""


@kernel
def are_acceptable(
    resource: Rows, duration: Rows, num_chunks: Rows, offsets: Rows, dependencies: Rows, num_resources: int, first: int
) -> bool:
    """Whether an engine accepts those tasks, the first of which gets number ``first``; ``check_tasks`` says what is wrong."""
    n = len(resource)
    if len(offsets) != n + 1 or offsets[0] != 0 or offsets[n] != len(dependencies):
        return False
    for row in range(n):
        if not 0 <= resource[row] < num_resources or not 0 <= duration[row] < DURATION_LIMIT_NS:
            return False
        if not 1 <= num_chunks[row] <= CHUNKS_LIMIT or not offsets[row] <= offsets[row + 1] <= len(dependencies):
            return False
        for place in range(offsets[row], offsets[row + 1]):
            if not 0 <= dependencies[place] < first + row:
                return False
    return True


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
def _look(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, number: int) -> None:
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
        _push(lane, heap, task.priority, 0, number)


@inner
def _release(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, number: int) -> None:
    watcher = tasks[number].watcher
    while watcher != NOBODY:
        following = tasks[watcher].next_watcher
        if tasks[watcher].state == WATCHING:
            _look(tasks, dependencies, lanes, heap, watcher)
        watcher = following


@kernel
def admit(
    resource: Rows,
    duration: Rows,
    priority: Rows,
    num_chunks: Rows,
    offsets: Rows,
    new_dependencies: Rows,
    tasks: Rows,
    dependencies: Rows,
    lanes: Rows,
    heap: Rows,
    clock: Rows,
) -> int:
    """Append tasks, all or none, to rows and heaps that have room; ``dependencies`` has theirs already, after those of earlier tasks."""
    n, first = len(resource), clock[NUM_TASKS]
    if len(duration) != n or len(priority) != n or len(num_chunks) != n:
        return REFUSED
    if not are_acceptable(resource, duration, num_chunks, offsets, new_dependencies, len(lanes), first):
        return REFUSED
    if not _take_room(resource, lanes):
        return HEAP_TOO_SMALL
    for row in range(n):
        number = first + row
        task, lane = tasks[number], lanes[resource[row]]
        task.duration, task.priority, task.resource = duration[row], priority[row], resource[row]
        task.num_chunks = num_chunks[row] if lane.is_priority else 1
        task.first_dependency = clock[NUM_DEPENDENCIES] + offsets[row]
        task.num_unchecked = offsets[row + 1] - offsets[row]
        task.start, task.end, task.busy, task.chunks_done = 0, 0, 0, 0
        task.watcher, task.next_watcher, task.next_in_order = NOBODY, NOBODY, NOBODY
        task.state, task.is_awaited = NEW, 0
        if lane.is_priority:
            _look(tasks, dependencies, lanes, heap, number)
            continue
        if lane.head == NOBODY:
            lane.head = number
        else:
            tasks[lane.tail].next_in_order = number
        lane.tail = number
    clock[NUM_TASKS] += n
    clock[NUM_DEPENDENCIES] += len(new_dependencies)
    return ADMITTED


@inner
def _take_room(resource: Rows, lanes: Rows) -> bool:
    for row in range(len(resource)):
        lanes[resource[row]].num_tasks += 1
    for number in range(len(lanes)):
        if lanes[number].is_priority and lanes[number].num_tasks > lanes[number].heap_capacity:
            for row in range(len(resource)):
                lanes[resource[row]].num_tasks -= 1
            return False
    return True


@kernel
def promote(tasks: Rows, lanes: Rows, heap: Rows, number: int, priority: int) -> bool:
    """Another priority for a task that has not started; False if it has, or was dropped."""
    task = tasks[number]
    if task.state >= STARTED:
        return False
    task.priority = priority
    lane = lanes[task.resource]
    if lane.is_priority and task.state == READY:
        _remove(lane, heap, _slot(lane, heap, number))
        _push(lane, heap, priority, 0, number)
    return True


@kernel
def drop(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, number: int) -> bool:
    """End a task that has not started; False if it has, or was dropped."""
    task = tasks[number]
    if task.state >= STARTED:
        return False
    lane = lanes[task.resource]
    if lane.is_priority and task.state == READY:
        _remove(lane, heap, _slot(lane, heap, number))
    task.state = DROPPED
    task.start, task.end = clock[NOW], clock[NOW]
    _release(tasks, dependencies, lanes, heap, number)
    return True


@inner
def _head(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, lane: Rows) -> int:
    """Take the first task of an in-order lane, if it is ready."""
    while lane.head != NOBODY and tasks[lane.head].state == DROPPED:
        lane.head = tasks[lane.head].next_in_order
    number = lane.head
    if number == NOBODY:
        return NOBODY
    if tasks[number].state == NEW:
        _look(tasks, dependencies, lanes, heap, number)
    if tasks[number].state != READY:
        return NOBODY
    lane.head = tasks[number].next_in_order
    return int(number)


@inner
def _start_all(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, has_interference: bool, now: int) -> bool:
    """Start what can start; whether any of it ends at this instant."""
    is_any_due = False
    for index in range(len(lanes)):
        lane = lanes[index]
        if lane.running != NOBODY:
            continue
        if not lane.is_priority:
            number = _head(tasks, dependencies, lanes, heap, lane)
            if number == NOBODY:
                continue
        elif lane.heap_size > 0:
            number = heap[lane.heap_base].number
            _remove(lane, heap, 0)
        else:
            continue
        task = tasks[number]
        if task.state == READY:
            task.state, task.start = STARTED, now
        piece = task.duration
        if task.num_chunks > 1:
            done, num = task.chunks_done, task.num_chunks
            piece = task.duration * (done + 1) // num - task.duration * done // num
        lane.running, lane.since, lane.due = number, now, now + piece
        if has_interference:
            lane.remaining, lane.rate = piece << RATE_BITS, 0
        is_any_due = is_any_due or piece == 0
    return is_any_due


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
    """The busy lane whose piece ends first, of several the one with the lowest task number."""
    first, due, number = NOBODY, NEVER, NOBODY
    for index in range(len(lanes)):
        lane = lanes[index]
        if lane.due < due or (lane.due == due and lane.running < number):
            first, due, number = index, lane.due, lane.running
    return first


@inner
def _end_piece(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, clock: Rows, lane: Rows) -> bool:
    """End what a lane runs; whether the process awaits it."""
    number, now = lane.running, clock[NOW]
    lane.running, lane.due = NOBODY, NEVER
    task = tasks[number]
    task.busy += now - lane.since
    task.chunks_done += 1
    if task.chunks_done < task.num_chunks:
        clock[NUM_REQUEUES] += 1
        _push(lane, heap, task.priority, clock[NUM_REQUEUES], number)
        return False
    task.end, task.state = now, DONE
    _release(tasks, dependencies, lanes, heap, number)
    return bool(task.is_awaited)


@inner
def _advance(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, factors: Rows, clock: Rows) -> int:
    has_interference = factors.size > 0
    while True:
        if not _start_all(tasks, dependencies, lanes, heap, has_interference, clock[NOW]):
            if has_interference:
                _retime(lanes, factors, clock[NOW])
            first = _first_due(lanes)
            if first == NOBODY:
                return FINISHED
            if lanes[first].due >= TIME_LIMIT_NS:
                return TOO_LATE
            clock[NOW] = lanes[first].due
        else:
            first = _first_due(lanes)
        is_awaited = False
        while first != NOBODY and lanes[first].due == clock[NOW]:
            if _end_piece(tasks, dependencies, lanes, heap, clock, lanes[first]):
                is_awaited = True
            first = _first_due(lanes)
        if is_awaited:
            return AWAITED


@kernel
def run(tasks: Rows, dependencies: Rows, lanes: Rows, heap: Rows, factors: Rows, clock: Rows, wait: Rows) -> int:
    """From the starts of this instant on, until a task of ``wait`` is done (at once, if one is) or all are."""
    for place in range(len(wait)):
        if not 0 <= wait[place] < clock[NUM_TASKS]:
            return NO_SUCH_TASK
    for place in range(len(wait)):
        if tasks[wait[place]].state >= DONE:
            return AWAITED
    for place in range(len(wait)):
        tasks[wait[place]].is_awaited = 1
    reason = _advance(tasks, dependencies, lanes, heap, factors, clock)
    for place in range(len(wait)):
        tasks[wait[place]].is_awaited = 0
    return reason
