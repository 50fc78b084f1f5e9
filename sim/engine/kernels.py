"""The compiled event-driven engine: one loop over instants, for programs and processes, with and
without interference.

Its results equal those of ``reference.py``. All functions work on the ``EngineRows`` of a run.
"""

from typing import Any

from sim.engine.compilation import inner, kernel
from sim.engine.heaps import at, push, remove, slot_of
from sim.engine.program import FULL_RATE
from sim.engine.state import (
    AWAITED,
    BUSY,
    DONE,
    DROPPED,
    END,
    FINISHED,
    FIRST_OPEN,
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
    EngineColumns,
    EngineRows,
)
from sim.engine.submission import TIME_LIMIT_NS

RATE_BITS = FULL_RATE.bit_length() - 1

Row = Any
"""One record; numba knows its fields, type checkers do not."""


@inner
def _worked(task: Row, num_chunks: int) -> int:
    """Return the work (ns at full rate) of a task's first ``num_chunks`` chunks."""
    # Most tasks are one chunk, and a division takes longer than all else here.
    if task.num_chunks == 1:
        return int(task.duration * num_chunks)
    return int(task.duration * num_chunks // task.num_chunks)


@inner
def _make_ready(rows: EngineRows, lane: Row, number: int) -> None:
    """Put a ready task into the heap of its lane.

    The running task yields to it at the next chunk border, unless the running task is more urgent.
    """
    priority = at(rows.tasks, number).priority
    push(lane, rows.heap, priority, 0, number)
    if lane.running == NOBODY:
        return
    task = at(rows.tasks, lane.running)
    done = task.chunks_done
    # In its last chunk there is no border left, and to what is less urgent it does not yield.
    if lane.until <= done + 1 or priority > task.priority:
        return
    least_work = rows.clock[NEXT_BORDER] - lane.since + _worked(task, done)
    border = (
        task.num_chunks * least_work + task.duration - 1
    ) // task.duration  # past ``done``, whose border is over
    lane.until = border
    lane.due = lane.since + _worked(task, border) - _worked(task, done)


@inner
def _look(rows: EngineRows, number: int) -> None:
    """Have a task watch its next unfinished dependency, or make it ready if there is none."""
    # A task watches one dependency at a time: nothing is counted down for the others, and most have
    # ended by the time they are looked at.
    task = at(rows.tasks, number)
    while task.num_unchecked > 0:
        task.num_unchecked -= 1
        dependency = rows.dependencies[task.first_dependency + task.num_unchecked]
        # An expert waits for the copy that brought it long ago, whose row no cache has any more:
        # to look at it takes a tenth of a live run.
        if dependency < rows.clock[FIRST_OPEN]:
            continue
        other = at(rows.tasks, dependency)
        if other.state < DONE:
            task.next_watcher = other.watcher
            other.watcher = number
            task.state = WATCHING
            return
    task.state = READY
    lane = at(rows.lanes, task.resource)
    if lane.is_priority:
        _make_ready(rows, lane, number)


@inner
def _release(rows: EngineRows, number: int) -> None:
    """Have all watchers of an ended task look for their next unfinished dependency."""
    watcher = at(rows.tasks, number).watcher
    while watcher != NOBODY:
        # Looking may put the watcher in the list of another task, so the next is read before.
        following = at(rows.tasks, watcher).next_watcher
        # One that was dropped while it watched has ended, and stays so.
        if at(rows.tasks, watcher).state == WATCHING:
            _look(rows, watcher)
        watcher = following


@kernel
def admit(columns: EngineColumns, rows: EngineRows) -> None:
    """Append accepted tasks to rows and heaps that have room.

    ``rows.dependencies`` already holds the dependencies of these tasks, after those of earlier
    tasks.
    """
    for row in range(len(columns.resource)):
        number = rows.clock[NUM_TASKS] + row
        task = at(rows.tasks, number)
        lane = at(rows.lanes, columns.resource[row])
        task.duration = columns.duration[row]
        task.priority = columns.priority[row]
        task.resource = columns.resource[row]
        # In order, nobody waits to go before the rest of a task, so that its borders mean nothing.
        task.num_chunks = columns.num_chunks[row] if lane.is_priority else 1
        task.first_dependency = rows.clock[NUM_DEPENDENCIES] + columns.offsets[row]
        task.num_unchecked = columns.offsets[row + 1] - columns.offsets[row]
        task.chunks_done = 0
        task.watcher = NOBODY
        task.next_watcher = NOBODY
        task.next_in_order = NOBODY
        task.state = NEW
        task.is_awaited = 0
        rows.times[BUSY, number] = 0
        if lane.is_priority:
            _look(rows, number)
            continue
        # In order, dependencies are looked at when the task is first in its lane: most have ended
        # by then.
        if lane.head == NOBODY:
            lane.head = number
        else:
            at(rows.tasks, lane.tail).next_in_order = number
        lane.tail = number
    rows.clock[NUM_TASKS] += len(columns.resource)
    rows.clock[NUM_DEPENDENCIES] += len(columns.dependencies)


@kernel
def promote(rows: EngineRows, number: int, priority: int) -> bool:
    """Change the priority of a task that has not started; False if it started or was dropped."""
    task = at(rows.tasks, number)
    if task.state >= STARTED:
        return False
    task.priority = priority
    lane = at(rows.lanes, task.resource)
    if lane.is_priority and task.state == READY:
        remove(lane, rows.heap, slot_of(lane, rows.heap, number))
        _make_ready(rows, lane, number)
    return True


@kernel
def drop(rows: EngineRows, number: int) -> bool:
    """End a task that has not started; False if it started or was dropped."""
    task = at(rows.tasks, number)
    if task.state >= STARTED:
        return False
    lane = at(rows.lanes, task.resource)
    # One that is not in a heap needs no taking out: who comes upon it sees its state.
    if lane.is_priority and task.state == READY:
        remove(lane, rows.heap, slot_of(lane, rows.heap, number))
    task.state = DROPPED
    rows.times[START, number] = rows.times[END, number] = rows.clock[NOW]
    _release(rows, number)
    return True


@inner
def _head(rows: EngineRows, lane: Row) -> int:
    """Take the first task of an in-order lane and return its number; NOBODY if it is not ready."""
    while lane.head != NOBODY and at(rows.tasks, lane.head).state == DROPPED:
        lane.head = at(rows.tasks, lane.head).next_in_order
    number = lane.head
    if number == NOBODY:
        return NOBODY
    if at(rows.tasks, number).state == NEW:
        _look(rows, number)
    if at(rows.tasks, number).state != READY:
        return NOBODY
    lane.head = at(rows.tasks, number).next_in_order
    return int(number)


@inner
def _next(rows: EngineRows, lane: Row) -> int:
    """Take the task that an idle lane runs next and return its number; NOBODY if none is ready."""
    if not lane.is_priority:
        return _head(rows, lane)
    if lane.heap_size == 0:
        return NOBODY
    number = at(rows.heap, lane.heap_base).number
    remove(lane, rows.heap, 0)
    return int(number)


@inner
def _until(rows: EngineRows, task: Row, lane: Row, can_run_on: bool) -> int:
    """Return how many chunks of a task are done when the piece that starts now ends.

    The piece takes all remaining chunks if it may run over borders and no ready task goes before
    the rest. Otherwise the piece is one chunk.
    """
    # Running over borders saves an event each. With interference each border rounds the remaining
    # work, and chunks of no length take a round each: those stop everywhere.
    if (
        not can_run_on
        or task.duration < task.num_chunks
        or (lane.heap_size > 0 and at(rows.heap, lane.heap_base).priority <= task.priority)
    ):
        return int(task.chunks_done + 1)
    return int(task.num_chunks)


@inner
def _start(rows: EngineRows, lane: Row, has_interference: bool) -> None:
    """Start a piece on an idle lane if a task is ready.

    Without interference the piece ends after its work; with interference, ``_retime`` sets its end.
    """
    number = _next(rows, lane)
    now = rows.clock[NOW]
    if number == NOBODY:
        return
    task = at(rows.tasks, number)
    # A task that comes back after a chunk has its state and its start already.
    if task.state == READY:
        task.state = STARTED
        rows.times[START, number] = now
    lane.until = _until(rows, task, lane, not has_interference)
    piece = _worked(task, lane.until) - _worked(task, task.chunks_done)
    lane.running = number
    lane.since = now
    lane.due = now + piece
    if has_interference:
        lane.remaining = piece << RATE_BITS
        lane.rate = 0


@inner
def _start_all(rows: EngineRows, has_interference: bool) -> bool:
    """Start a piece on every idle lane that has a ready task; return whether a lane is due now."""
    is_any_due = False
    for index in range(len(rows.lanes)):
        lane = at(rows.lanes, index)
        if lane.running == NOBODY:
            _start(rows, lane, has_interference)
            is_any_due |= lane.due == rows.clock[NOW]
    # The borders of this instant are over: what is submitted now is in time for the next alone.
    rows.clock[NEXT_BORDER] = rows.clock[NOW] + 1
    return is_any_due


@inner
def _retime(rows: EngineRows) -> None:
    """Set the rate of each busy lane and the end of its piece, once an instant has settled."""
    lanes = rows.lanes
    now = rows.clock[NOW]
    has_changed = False
    for index in range(len(lanes)):
        is_busy = 1 if at(lanes, index).running != NOBODY else 0
        if at(lanes, index).was_busy != is_busy:
            at(lanes, index).was_busy = is_busy
            has_changed = True
    for index in range(len(lanes)):
        lane = at(lanes, index)
        if not lane.was_busy:
            continue
        # Rates depend on who is busy alone, so that the same lanes keep the rates they had.
        if has_changed:
            rate = FULL_RATE
            for other in range(len(lanes)):
                if at(lanes, other).was_busy and other != index:
                    rate = max(1, (rate * rows.factors[index, other]) >> RATE_BITS)
            lane.settled_rate = rate
        if lane.rate != lane.settled_rate:
            # At the rate that it had, the end that it has still holds.
            if lane.rate != 0:
                lane.remaining = max(0, lane.remaining - lane.rate * (now - lane.rated))
            lane.rate = lane.settled_rate
            lane.rated = now
            lane.due = now + (lane.remaining + lane.rate - 1) // lane.rate


@inner
def _first_due(rows: EngineRows) -> int:
    """Return the lane whose piece ends first, or NOBODY; on a tie, the one with the lowest task
    number.
    """
    # There are few lanes, and a heap of events would be sorted anew at the end of every piece.
    first = NOBODY
    due = NEVER
    number = NOBODY
    for index in range(len(rows.lanes)):
        lane = at(rows.lanes, index)
        if lane.due < due or (lane.due == due and lane.running < number):
            first = index
            due = lane.due
            number = lane.running
    return first


@inner
def _end_piece(rows: EngineRows, lane: Row) -> bool:
    """End the piece that a lane runs; return whether this ends a task that the process awaits."""
    number = lane.running
    now = rows.clock[NOW]
    lane.running = NOBODY
    lane.due = NEVER
    task = at(rows.tasks, number)
    rows.times[BUSY, number] += now - lane.since
    task.chunks_done = lane.until
    if task.chunks_done < task.num_chunks:
        # Behind all of its priority that were ready before: chunks of equals take turns.
        rows.clock[NUM_REQUEUES] += 1
        push(lane, rows.heap, task.priority, rows.clock[NUM_REQUEUES], number)
        return False
    rows.times[END, number] = now
    task.state = DONE
    _release(rows, number)
    return bool(task.is_awaited)


@inner
def _advance(rows: EngineRows) -> int:
    """Go from instant to instant until an awaited task is done, no work is left or time runs out.

    Return AWAITED, FINISHED or TOO_LATE.
    """
    clock = rows.clock
    has_interference = rows.factors.size > 0
    first = _first_due(rows)
    while True:
        # All ends of an instant come before its starts, so that what starts sees them all.
        is_awaited = False
        while first != NOBODY and at(rows.lanes, first).due == clock[NOW]:
            if _end_piece(rows, at(rows.lanes, first)):
                is_awaited = True
            first = _first_due(rows)
        # The process decides before anything starts: it may submit what goes first.
        if is_awaited:
            return AWAITED
        is_any_due = _start_all(rows, has_interference)
        # What takes no time ends before time goes on, and may start more: only then are rates known.
        if has_interference and not is_any_due:
            _retime(rows)
        first = _first_due(rows)
        if first == NOBODY:
            return FINISHED
        if at(rows.lanes, first).due >= TIME_LIMIT_NS:
            return TOO_LATE
        if not is_any_due:
            clock[NOW] = clock[NEXT_BORDER] = at(rows.lanes, first).due


@inner
def _pass_ended(rows: EngineRows) -> None:
    """Move FIRST_OPEN to the first task that has not ended."""
    first = rows.clock[FIRST_OPEN]
    while first < rows.clock[NUM_TASKS] and at(rows.tasks, first).state >= DONE:
        first += 1
    rows.clock[FIRST_OPEN] = first


@kernel
def run(rows: EngineRows, wait: Any) -> int:
    """Run until a task of ``wait`` is done or all tasks are; return AWAITED, FINISHED or TOO_LATE.

    The run goes on with the starts of this instant. It returns at once if a task of ``wait`` is
    done already.
    """
    for place in range(len(wait)):
        if at(rows.tasks, wait[place]).state >= DONE:
            return AWAITED
    _pass_ended(rows)
    for place in range(len(wait)):
        at(rows.tasks, wait[place]).is_awaited = 1
    reason = _advance(rows)
    for place in range(len(wait)):
        at(rows.tasks, wait[place]).is_awaited = 0
    return reason
