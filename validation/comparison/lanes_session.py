"""Time the simulator's tasks on lanes with costs, by the simulator's engine.

A coordinator submits the tasks, and inboxes hand them to each lane.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from sim.engine import engine
from sim.engine.program import FULL_RATE, Platform, Process, Program, Session, Wait
from sim.engine.submission import join_tables
from sim.engine.task import Resource, Task, TaskKind, TaskTable, task_table
from sim.engine.timeline import Timeline
from validation.comparison.lane_costs import LaneCosts

NUM_INBOXES = 6
"""Inboxes of a lane, more than the tasks that are ever on their way to it at once.

Such tasks are those behind a gate that are submitted while one is handed over.
"""


class LanesSession:
    """A session around another, in which each task becomes three.

    A coordinator submits task by task, and goes on behind a gate only once the gate has ended. What
    a lane waits for from elsewhere reaches the lane through an inbox, ``hand_over_ns`` later.
    Coordinator and inboxes are resources, so nothing but tasks and dependencies is needed. A lane
    has several inboxes, used in turn, so that a task on its way does not hold up the next.
    """

    def __init__(self, inner: Session, num_lanes: int, costs: LaneCosts) -> None:
        self.tables: list[TaskTable] = []
        self.places: list[int] = []
        self._inner = inner
        self._num_lanes = num_lanes
        self._costs = costs
        self._lane_of: list[int] = []
        self._num_made = 0
        self._gate: int | None = None

    @property
    def now_ns(self) -> int:
        """Current instant, in ns."""
        return self._inner.now_ns

    def submit(self, tasks: TaskTable) -> int:
        """Submit tasks, each with its submission and inbox; return the number of the first task."""
        first = len(self.places)
        self.tables.append(tasks)
        durations_ns = self._costs.durations_ns(tasks) + round(self._costs.same_lane_ns)
        made: list[Task] = []
        for row in range(len(tasks)):
            made += self._surrounded(tasks, row, int(durations_ns[row]))
        self._inner.submit(task_table(made))
        return first

    def is_done(self, number: int) -> bool:
        """Whether the task has completed (or was dropped)."""
        return self._inner.is_done(self.places[number])

    def is_started(self, number: int) -> bool:
        """Whether the task has begun to run."""
        return self._inner.is_started(self.places[number])

    def started_ns(self, number: int) -> int:
        """Return when a task that has begun did so; for any other task the answer means nothing."""
        return self._inner.started_ns(self.places[number])

    def promote(self, number: int, priority: int) -> bool:
        """Give a task that has not started another priority."""
        return self._inner.promote(self.places[number], priority)

    def drop(self, number: int) -> bool:
        """Take back a task that has not started."""
        return self._inner.drop(self.places[number])

    def _surrounded(self, tasks: TaskTable, row: int, duration_ns: int) -> tuple[Task, Task, Task]:
        """Return the task's submission, its way through the lane's inbox, and the task itself."""
        lane = int(tasks.resource[row])
        kind = TaskKind(int(tasks.kind[row]))
        costs = self._costs
        waits = tasks.dependencies[
            tasks.dependency_offsets[row] : tasks.dependency_offsets[row + 1]
        ].tolist()
        submission_ns, behind = (
            (costs.submission_ns, ()) if self._gate is None else (costs.decision_ns, (self._gate,))
        )
        number = self._num_made
        submission = Task(resource=self._num_lanes, duration_ns=round(submission_ns), after=behind)
        elsewhere = tuple(self.places[wait] for wait in waits if self._lane_of[wait] != lane)
        # A layer's copy is submitted as soon as its buffer is free, ahead of its turn: see
        # LayersAhead.
        submitted = () if kind is TaskKind.LAYER_FETCH else (number,)
        place = self._num_lanes + 1 + lane * NUM_INBOXES + len(self.places) % NUM_INBOXES
        inbox = Task(
            resource=place,
            duration_ns=round(float(costs.hand_over_ns[lane])),
            after=(*submitted, *elsewhere),
        )
        task = Task(
            resource=lane,
            duration_ns=duration_ns,
            after=(number + 1,),
            kind=kind,
            priority=int(tasks.priority[row]),
            num_chunks=int(tasks.num_chunks[row]),
        )
        self.places.append(number + 2)
        self._lane_of.append(lane)
        self._num_made += 3
        # What comes behind a gate depends on it, so the coordinator waits for its end.
        self._gate = number + 2 if kind is TaskKind.GATE else None
        return submission, inbox, task


def time_on_lanes(platform: Platform, process: Process, costs: LaneCosts) -> Timeline:
    """Return the timeline of the process's own tasks, timed with the costs of lanes.

    The gap behind a task counts as part of the task.
    """
    sessions: list[LanesSession] = []

    def surrounded(session: Session) -> Generator[Wait, None, None]:
        """Run the process in a session of its own."""
        own = LanesSession(session, len(platform.resources), costs)
        sessions.append(own)
        for wait in process(own):
            yield tuple(own.places[number] for number in wait)

    line = engine("fast").run_process(_with_inboxes(platform), surrounded)
    places = np.array(sessions[0].places, np.int64)
    return Timeline(
        platform=platform,
        tasks=join_tables(sessions[0].tables),
        start_ns=line.start_ns[places],
        end_ns=line.end_ns[places],
        busy_ns=line.busy_ns[places],
        is_dropped=line.is_dropped[places],
    )


def time_program_on_lanes(program: Program, costs: LaneCosts) -> Timeline:
    """Time a program on lanes; the program is submitted as a whole."""

    def submit_all(session: Session) -> Generator[Wait, None, None]:
        """Run the program as a process."""
        session.submit(program.tasks)
        # The program waits for nothing, but without a yield this would not be a generator.
        yield from ()

    return time_on_lanes(program.platform, submit_all, costs)


def _with_inboxes(platform: Platform) -> Platform:
    """Return the platform with a coordinator and inboxes behind its lanes.

    An inbox has its lane's discipline; none of them disturbs any other resource.
    """
    numbers = range(NUM_INBOXES)
    inboxes = tuple(
        replace(lane, name=f"inbox {number} of {lane.name}")
        for lane in platform.resources
        for number in numbers
    )
    resources = (*platform.resources, Resource(name="coordinator"), *inboxes)
    if platform.rate_factors is None:
        return Platform(resources=resources)
    # Inboxes stand for waiting, which slows nobody.
    factors = np.full((len(resources), len(resources)), FULL_RATE, np.int64)
    factors[: len(platform.resources), : len(platform.resources)] = platform.rate_factors
    return Platform(resources=resources, rate_factors=factors)
