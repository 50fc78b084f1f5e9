"""The fast engine: compiled code with the results of ``reference.py``.

A program takes one pass over its table if all its tasks run on in-order resources and nothing
interferes. All other runs take the event loop.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.engine.kernels as kernels
import sim.engine.state as state
from hwprofiles import InputError
from sim.engine.acceptance import accept
from sim.engine.compilation import settled
from sim.engine.flat import flat_pass
from sim.engine.program import FULL_RATE, Platform, Process, Program, Wait
from sim.engine.state import EngineColumns, EngineRows
from sim.engine.submission import (
    TIME_LIMIT_NS,
    check_number,
    check_platform,
    check_priority,
    check_tasks,
    check_wait,
    join_tables,
)
from sim.engine.task import Discipline, TaskTable
from sim.engine.timeline import Timeline

Column = NDArray[Any]
_UNCHECKED_COLUMNS = ("priority", "kind", "step", "layer", "expert", "num_bytes")
_NO_LIMIT = 2**62
_NO_HEAPS = np.zeros(0, np.int64)
_NO_WAIT = np.zeros(0, np.int64)

# A session's rows are always of the same types, and so are columns that ``accept`` has seen: what
# these are given need not be looked up.
_admit = settled(kernels.admit)
_promote = settled(kernels.promote)
_drop = settled(kernels.drop)
_run = settled(kernels.run)
_flat_pass = settled(flat_pass)


def run_program(program: Program) -> Timeline:
    """Run a program, in one pass over its table if all is in order and nothing interferes.

    Raises InputError for tasks no engine accepts.
    """
    check_platform(program.platform)
    if _is_flat(program):
        return _run_flat(program)
    session = FastSession(program.platform, room=len(program.tasks))
    session.submit(program.tasks)
    session.advance(())
    return session.timeline()


def run_process(platform: Platform, process: Process) -> Timeline:
    """Run a process, and all tasks that it submits, to the end.

    Raises InputError for tasks or waits no engine accepts.
    """
    check_platform(platform)
    session = FastSession(platform)
    waits: Generator[Wait, None, None] = process(session)
    for wait in waits:
        session.advance(check_wait(wait, session.num_tasks))
    session.advance(())
    return session.timeline()


class FastSession:
    """The state of a run, in arrays that grow, and the session that its process uses."""

    def __init__(self, platform: Platform, room: int = 1024) -> None:
        """Begin a run at time 0 with no tasks, in arrays with room for ``room`` tasks.

        The caller has checked ``platform``.
        """
        self._platform = platform
        self._tables: list[TaskTable] = []
        lanes = idle_lanes(platform)
        self._rows = EngineRows(
            tasks=np.empty(room, state.TASK),
            times=np.empty((3, room), np.int64),
            dependencies=np.empty(0, np.int64),
            lanes=lanes,
            heap=np.empty(0, state.ENTRY),
            factors=active_factors(platform),
            clock=np.zeros(state.CLOCK_SIZE, np.int64),
        )
        self._states: NDArray[np.uint8] = self._rows.tasks["state"]
        self._heap_capacity = np.where(lanes["is_priority"] == 1, 0, _NO_LIMIT)
        self._heap_room = self._heap_capacity.copy()
        self.num_tasks = 0

    @property
    def now_ns(self) -> int:
        """The current instant."""
        return int(self._rows.clock[state.NOW])

    def submit(self, tasks: TaskTable) -> int:
        """Append tasks and return the sequence number of the first.

        Raises InputError for a task that no engine accepts.
        """
        first = self.num_tasks
        columns = columns_of(tasks)
        outcome = _accept(self._platform, tasks, columns, first, self._heap_room)
        if outcome == state.HEAP_TOO_SMALL:
            self._make_heap_room()
        self._make_room(first + len(tasks), columns.dependencies)
        _admit(columns, self._rows)
        self._tables.append(tasks)
        self.num_tasks += len(tasks)
        return first

    def is_done(self, number: int) -> bool:
        """Whether the task has completed (or was dropped)."""
        return bool(self._states[check_number(number, self.num_tasks)] >= state.DONE)

    def is_started(self, number: int) -> bool:
        """Whether the task has begun to run."""
        return bool(
            self._states[check_number(number, self.num_tasks)] in (state.STARTED, state.DONE)
        )

    def started_ns(self, number: int) -> int:
        """Return when a task started; the answer is meaningless for a task that has not started."""
        return int(self._rows.times[state.START, check_number(number, self.num_tasks)])

    def promote(self, number: int, priority: int) -> bool:
        """Change the priority of a task that has not started.

        Return False, and change nothing, if the task has started or was dropped.
        """
        check_number(number, self.num_tasks)
        check_priority(priority)
        return bool(_promote(self._rows, number, priority))

    def drop(self, number: int) -> bool:
        """Take back a task that has not started: it ends now.

        Return False, and change nothing, if the task has started or was dropped.
        """
        check_number(number, self.num_tasks)
        return bool(_drop(self._rows, number))

    def advance(self, wait: Wait) -> None:
        """Run until one task of ``wait`` is done; an empty ``wait`` runs until all tasks are done.

        Raises InputError if a task would end at TIME_LIMIT_NS or later.
        """
        numbers = np.array(wait, np.int64) if wait else _NO_WAIT
        reason = _run(self._rows, numbers)
        if reason == state.TOO_LATE:
            refuse_late(int(self._rows.lanes["due"].min()))
        assert wait or reason == state.FINISHED

    def timeline(self) -> Timeline:
        """The timeline of all tasks so far."""
        return Timeline(
            platform=self._platform,
            tasks=join_tables(self._tables),
            start_ns=self._rows.times[state.START, : self.num_tasks],
            end_ns=self._rows.times[state.END, : self.num_tasks],
            busy_ns=self._rows.times[state.BUSY, : self.num_tasks],
            is_dropped=self._states[: self.num_tasks] == state.DROPPED,
        )

    def _make_room(self, num_tasks: int, dependencies: NDArray[np.int64]) -> None:
        rows = self._rows
        if num_tasks > len(rows.tasks):
            self._rows = rows = rows._replace(
                tasks=_grown(rows.tasks, self.num_tasks, num_tasks),
                times=_grown(rows.times, self.num_tasks, num_tasks),
            )
            self._states = rows.tasks["state"]
        if self.num_tasks == 0:
            # serves as it is: it is full, so that it is copied before anything is added
            self._rows = rows._replace(dependencies=dependencies)
            return
        used = int(rows.clock[state.NUM_DEPENDENCIES])
        needed = used + len(dependencies)
        if needed > len(rows.dependencies):
            self._rows = rows = rows._replace(dependencies=_grown(rows.dependencies, used, needed))
        rows.dependencies[used:needed] = dependencies

    def _make_heap_room(self) -> None:
        """Double every heap that is too small, or add what it lacks if that is more.

        All heaps move into a new array, each as a whole.
        """
        old = self._heap_capacity
        lacking = np.maximum(-self._heap_room, 0)
        added = np.where(lacking > 0, np.maximum(lacking, old), 0)
        self._heap_capacity = old + added
        self._heap_room = self._heap_room + added
        lanes = self._rows.lanes
        capacity = np.where(lanes["is_priority"] == 1, self._heap_capacity, 0)
        base = np.concatenate([[0], capacity.cumsum()])
        heap = np.empty(base[-1], state.ENTRY)
        for new, lane in zip(base[:-1], lanes, strict=True):
            size = lane["heap_size"]
            old_base = lane["heap_base"]
            heap[new : new + size] = self._rows.heap[old_base : old_base + size]
        lanes["heap_base"] = base[:-1]
        self._rows = self._rows._replace(heap=heap)


def _run_flat(program: Program) -> Timeline:
    tasks = program.tasks
    num_resources = len(program.platform.resources)
    columns = columns_of(tasks)
    _accept(program.platform, tasks, columns, 0, _NO_HEAPS)
    start_ns = np.empty(len(tasks), np.int64)
    end_ns = np.empty(len(tasks), np.int64)
    refuse_late(_flat_pass(columns, num_resources, start_ns, end_ns))
    is_dropped = np.zeros(len(tasks), np.bool_)
    return Timeline(
        platform=program.platform,
        tasks=tasks,
        start_ns=start_ns,
        end_ns=end_ns,
        busy_ns=columns.duration,
        is_dropped=is_dropped,
    )


def _accept(
    platform: Platform,
    tasks: TaskTable,
    columns: EngineColumns,
    first: int,
    heap_room: NDArray[np.int64],
) -> int:
    """ACCEPTED or HEAP_TOO_SMALL. Raises InputError for tasks no engine accepts."""
    outcome = int(accept(columns, first, len(platform.resources), heap_room))
    if outcome == state.REFUSED or any(
        len(getattr(tasks, name)) != len(tasks) for name in _UNCHECKED_COLUMNS
    ):
        check_tasks(platform, tasks, first)
        raise AssertionError("accept refused what check_tasks accepts")
    return outcome


def refuse_late(time_ns: int) -> None:
    """Raises InputError for a time of TIME_LIMIT_NS or later."""
    if time_ns >= TIME_LIMIT_NS:
        raise InputError(f"the run must end before 2**62 ns, got to {time_ns} ns")


def _is_flat(program: Program) -> bool:
    if active_factors(program.platform).size:
        return False
    is_priority = np.array(
        [resource.discipline is Discipline.PRIORITY for resource in program.platform.resources],
        np.bool_,
    )
    return (
        not is_priority.any() or not np.take(is_priority, program.tasks.resource, mode="clip").any()
    )


def active_factors(platform: Platform) -> NDArray[np.int64]:
    """Return the rate factors (int64, R x R), or a 0 x 0 array if no resource slows another."""
    factors = platform.rate_factors
    if factors is None or (factors[~np.eye(len(factors), dtype=np.bool_)] == FULL_RATE).all():
        return np.zeros((0, 0), np.int64)
    return np.ascontiguousarray(factors, np.int64)


def columns_of(tasks: TaskTable) -> EngineColumns:
    """Return the columns that an engine reads, in the types and layout that kernels are compiled
    for.

    A column is copied only if its type or layout differs.
    """
    return EngineColumns(
        resource=_plain(tasks.resource, np.int16),
        duration=_plain(tasks.duration_ns, np.int64),
        priority=_plain(tasks.priority, np.int32),
        num_chunks=_plain(tasks.num_chunks, np.int32),
        offsets=_plain(tasks.dependency_offsets, np.int64),
        dependencies=_plain(tasks.dependencies, np.int64),
    )


def _plain(column: Column, dtype: type[np.integer[Any]]) -> Column:
    return (
        column
        if column.dtype == dtype and column.flags.carray
        else np.require(column, dtype, ["C", "A", "W"])
    )


def idle_lanes(platform: Platform) -> NDArray[np.void]:
    """Return the resources at time 0 as rows of LANE, in index order."""
    lanes = np.zeros(len(platform.resources), state.LANE)
    lanes["running"] = state.NOBODY
    lanes["head"] = state.NOBODY
    lanes["tail"] = state.NOBODY
    lanes["due"] = state.NEVER
    lanes["is_priority"] = [
        resource.discipline is Discipline.PRIORITY for resource in platform.resources
    ]
    return lanes


def _grown(rows: NDArray[Any], num_used: int, num_needed: int) -> NDArray[Any]:
    """Copy an array into one whose last axis is twice as long, or ``num_needed`` long if that is
    more.

    Only the first ``num_used`` entries are copied; the others are uninitialised.
    """
    larger = np.empty((*rows.shape[:-1], max(num_needed, 2 * rows.shape[-1])), rows.dtype)
    larger[..., :num_used] = rows[..., :num_used]
    return larger
