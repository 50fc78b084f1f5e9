"""The reference engine, which defines the results of all engines.

SimPy keeps the clock and the queue of ends. ``_settle`` does everything else at each instant. Read
this file with ``docs/explanation/time.md``: the comments here use its numbers (1) to (4).
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np
import simpy

from hwprofiles import InputError
from sim.engine.program import FULL_RATE, Platform, Process, Program, Session, Wait
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


def run_program(program: Program) -> Timeline:
    """Run a program as a process that submits all tasks at once and never yields.

    Raises InputError for tasks no engine accepts.
    """

    def submit_all(session: Session) -> Generator[Wait, None, None]:
        """Submit all tasks of the program."""
        session.submit(program.tasks)
        yield from ()

    return run_process(program.platform, submit_all)


def run_process(platform: Platform, process: Process) -> Timeline:
    """Run a process, and all tasks that it submits, to the end.

    Raises InputError for tasks or waits no engine accepts.
    """
    session = ReferenceSession(platform)
    session.run(process)
    return session.timeline()


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """A task at run time.

    ``requeue`` is 0 until the task first stops at a chunk border. From then on it is the number of
    its last stop, counted over all tasks of the run.
    """

    number: int
    lane: "_Lane"
    duration_ns: int
    priority: int
    num_chunks: int
    num_unmet: int = 0
    dependents: list["_Job"] = field(default_factory=list)
    requeue: int = 0
    chunks_done: int = 0
    start_ns: int | None = None
    end_ns: int | None = None
    busy_ns: int = 0
    is_dropped: bool = False

    @property
    def rank(self) -> tuple[int, int, int]:
        """The task's rank among the ready tasks of its lane; the smallest goes first."""
        return self.priority, self.requeue, self.number

    @property
    def piece_ns(self) -> int:
        """Work up to the next chunk border, or to the end (ns at full rate)."""
        done = self.chunks_done
        total = self.duration_ns
        num = self.num_chunks
        return total * (done + 1) // num - total * done // num


@dataclass(slots=True, kw_only=True, eq=False)
class _Lane:
    """A resource at run time: the task that it runs and the tasks that wait for it.

    ``remaining`` is the work left of the running piece at ``rated_ns``, in ns * FULL_RATE.
    """

    is_priority: bool
    in_order: deque[_Job] = field(default_factory=deque)
    ready: list[tuple[int, int, int]] = field(default_factory=list)
    job: _Job | None = None
    since_ns: int = 0
    remaining: int = 0
    rate: int = 0
    rated_ns: int = 0
    timer: simpy.Timeout | None = None


class ReferenceSession:
    """A run: the session that a process sees, and the loop over instants."""

    def __init__(self, platform: Platform) -> None:
        """Begin a run at time 0 with no tasks. Raises InputError for rate factors out of range."""
        check_platform(platform)
        self._platform = platform
        self._env = simpy.Environment()
        self._lanes = [
            _Lane(is_priority=resource.discipline is Discipline.PRIORITY)
            for resource in platform.resources
        ]
        self._factors = None if platform.rate_factors is None else platform.rate_factors.tolist()
        self._jobs: list[_Job] = []
        self._tables: list[TaskTable] = []
        self._due: list[_Lane] = []
        self._num_requeues = 0
        self._process: Generator[Wait, None, None] | None = None
        self._wait: Wait | None = None

    @property
    def now_ns(self) -> int:
        """The current instant."""
        return int(self._env.now)

    def submit(self, tasks: TaskTable) -> int:
        """Append tasks and return the sequence number of the first.

        Raises InputError for a task that no engine accepts.
        """
        first = len(self._jobs)
        check_tasks(self._platform, tasks, first)
        self._tables.append(tasks)
        offsets = tasks.dependency_offsets.tolist()
        dependencies = tasks.dependencies.tolist()
        columns = (tasks.resource, tasks.duration_ns, tasks.priority, tasks.num_chunks)
        for row, (resource, duration_ns, priority, num_chunks) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            lane = self._lanes[resource]
            num_chunks = num_chunks if lane.is_priority else 1
            job = _Job(
                number=first + row,
                lane=lane,
                duration_ns=duration_ns,
                priority=priority,
                num_chunks=num_chunks,
            )
            self._jobs.append(job)
            self._enqueue(job, dependencies[offsets[row] : offsets[row + 1]])
        return first

    def is_done(self, number: int) -> bool:
        """Whether the task has completed (or was dropped)."""
        return self._job(number).end_ns is not None

    def is_started(self, number: int) -> bool:
        """Whether the task has begun to run."""
        job = self._job(number)
        return job.start_ns is not None and not job.is_dropped

    def started_ns(self, number: int) -> int:
        """Return when a task started; the answer is meaningless for a task that has not started."""
        return self._job(number).start_ns or 0

    def promote(self, number: int, priority: int) -> bool:
        """Change the priority of a task that has not started.

        Return False, and change nothing, if the task has started or was dropped.
        """
        job = self._job(number)
        check_priority(priority)
        if job.start_ns is not None:
            return False
        was_ready = self._leave_ready(job)
        job.priority = priority
        if was_ready:
            heappush(job.lane.ready, job.rank)
        return True

    def drop(self, number: int) -> bool:
        """Take back a task that has not started: it ends now.

        Return False, and change nothing, if the task has started or was dropped.
        """
        job = self._job(number)
        if job.start_ns is not None:
            return False
        if job.lane.is_priority:
            self._leave_ready(job)
        else:
            job.lane.in_order.remove(job)
        job.start_ns = self.now_ns
        job.is_dropped = True
        self._end(job)
        return True

    def run(self, process: Process) -> None:
        """Run a process: at each instant, collect the lanes whose pieces end, then settle the
        instant.
        """
        self._process = process(self)
        self._settle()
        while (instant := self._env.peek()) != simpy.core.Infinity:
            while self._env.peek() == instant:
                self._env.step()
            if self._due:
                self._settle()
        assert all(job.end_ns is not None for job in self._jobs), (
            "dependencies point backwards, so the first task left could run"
        )

    def timeline(self) -> Timeline:
        """The timeline of all tasks so far."""
        rows = [(job.start_ns, job.end_ns, job.busy_ns, job.is_dropped) for job in self._jobs]
        start_ns, end_ns, busy_ns, is_dropped = np.array(rows, np.int64).reshape(-1, 4).T.copy()
        return Timeline(
            platform=self._platform,
            tasks=join_tables(self._tables),
            start_ns=start_ns,
            end_ns=end_ns,
            busy_ns=busy_ns,
            is_dropped=is_dropped.astype(np.bool_),
        )

    def _settle(self) -> None:
        if self.now_ns >= TIME_LIMIT_NS:
            raise InputError(f"the run must end before 2**62 ns, got to {self.now_ns} ns")
        while True:
            due = self._due
            self._due = []
            for lane in sorted(due, key=lambda lane: lane.job.number):  # type: ignore[union-attr]  # a lane that is due runs a job
                self._end_piece(lane)  # (1)
            self._go_on()  # (2), (3)
            for lane in self._lanes:
                self._start(lane)  # (4)
            if not self._due:
                return self._retime()

    def _end_piece(self, lane: _Lane) -> None:
        job = lane.job
        lane.job = None
        assert job is not None
        job.busy_ns += self.now_ns - lane.since_ns
        job.chunks_done += 1
        if job.chunks_done == job.num_chunks:
            return self._end(job)
        self._num_requeues += 1
        job.requeue = self._num_requeues
        heappush(lane.ready, job.rank)

    def _end(self, job: _Job) -> None:
        job.end_ns = self.now_ns
        for dependent in job.dependents:
            dependent.num_unmet -= 1
            if dependent.num_unmet == 0 and dependent.lane.is_priority and not dependent.is_dropped:
                heappush(dependent.lane.ready, dependent.rank)

    def _go_on(self) -> None:
        while self._process is not None and (
            self._wait is None or any(map(self.is_done, self._wait))
        ):
            try:
                self._wait = check_wait(next(self._process), len(self._jobs))
            except StopIteration:
                self._process = None

    def _start(self, lane: _Lane) -> None:
        if lane.job is not None:
            return
        if lane.ready:
            job = self._jobs[heappop(lane.ready)[2]]
        elif lane.in_order and lane.in_order[0].num_unmet == 0:
            job = lane.in_order.popleft()
        else:
            return
        job.start_ns = self.now_ns if job.start_ns is None else job.start_ns
        lane.job = job
        lane.since_ns = self.now_ns
        lane.remaining = job.piece_ns * FULL_RATE
        lane.rate = 0
        if lane.remaining == 0:
            self._due.append(lane)

    def _retime(self) -> None:
        """Set the rate of each busy lane and the end of its piece, once an instant has settled."""
        busy = [number for number, lane in enumerate(self._lanes) if lane.job is not None]
        for number in busy:
            lane = self._lanes[number]
            rate = self._rate(number, busy)
            if rate == lane.rate:
                continue
            lane.remaining = max(0, lane.remaining - lane.rate * (self.now_ns - lane.rated_ns))
            lane.rate = rate
            lane.rated_ns = self.now_ns
            lane.timer = self._env.timeout(-(-lane.remaining // rate), lane)
            lane.timer.callbacks.append(self._fall_due)

    def _rate(self, number: int, busy: list[int]) -> int:
        rate = FULL_RATE
        if self._factors is not None:
            for other in busy:
                if other != number:
                    rate = max(1, rate * self._factors[number][other] // FULL_RATE)
        return rate

    def _fall_due(self, event: simpy.Event) -> None:
        lane: _Lane = event.value  # type: ignore[assignment]  # what _retime gave it
        if lane.timer is event:  # else it was timed anew since
            self._due.append(lane)

    def _enqueue(self, job: _Job, dependencies: list[int]) -> None:
        for number in dependencies:
            if self._jobs[number].end_ns is None:
                self._jobs[number].dependents.append(job)
                job.num_unmet += 1
        if not job.lane.is_priority:
            job.lane.in_order.append(job)
        elif job.num_unmet == 0:
            heappush(job.lane.ready, job.rank)

    def _leave_ready(self, job: _Job) -> bool:
        if not job.lane.is_priority or job.num_unmet > 0:
            return False
        job.lane.ready.remove(job.rank)
        heapify(job.lane.ready)
        return True

    def _job(self, number: int) -> _Job:
        return self._jobs[check_number(number, len(self._jobs))]
