"""A session on real lanes: a process decides gate by gate as in the simulator, by the wall
clock.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise

from sim.engine.program import Wait
from sim.engine.task import NONE, TaskKind, TaskTable
from sim.step.lowering.draft import H2D
from validation.backend.lane import Line, finish
from validation.backend.layers_ahead import LayersAhead
from validation.backend.priority_lane import PriorityLane
from validation.backend.task_work import TaskWork
from validation.backend.ticket import TaskLabel, Ticket

_KINDS = tuple(TaskKind)
"""Kinds of tasks by their numbers, which count from 0."""

# Python looks members of an enumeration up slowly, and this is asked of every task.
_LAYER_FETCH = TaskKind.LAYER_FETCH


class RealSession:
    """The ``sim.engine.program.Session`` of real lanes.

    If a copy starts after it was checked but before it is taken back, the copy runs. ``ahead`` says
    which copies of layers are submitted before their turn; None means none.
    """

    def __init__(
        self, lanes: Sequence[Line], work: TaskWork, ahead: LayersAhead | None = None
    ) -> None:
        self.tickets: list[Ticket] = []
        self._lanes = lanes
        self._work = work
        self._ahead = ahead
        self._early: list[Ticket] = []
        self._began_ns = time.perf_counter_ns()

    @property
    def now_ns(self) -> int:
        """Current instant, in ns since the session began."""
        return time.perf_counter_ns() - self._began_ns

    def submit(self, tasks: TaskTable) -> int:
        """Give every task its work and submit it to its lane; return the number of the first
        task.
        """
        first = len(self.tickets)
        for number, ticket in enumerate(_tickets_of(tasks, self.tickets), first):
            if ticket.kind is _LAYER_FETCH and self._early:
                # It was submitted ahead, and its turn has come.
                self.tickets.append(self._early.pop(0))
                self._work.claim_layer()
                continue
            self._work.bind(ticket, number)
            self.tickets.append(ticket)
            self._lanes[ticket.resource].submit(ticket)
        return first

    def is_done(self, number: int) -> bool:
        """Whether the task has completed (or was dropped)."""
        return self.tickets[number].is_ended

    def is_started(self, number: int) -> bool:
        """Whether the task has begun to run."""
        return self.tickets[number].start_ns > 0 and not self.tickets[number].is_dropped

    def started_ns(self, number: int) -> int:
        """Return when a task that has begun did so; for any other task the answer means nothing."""
        return self.tickets[number].start_ns - self._began_ns

    def promote(self, number: int, priority: int) -> bool:
        """Give a copy that has not started another priority; return False, without effect, if it
        has.
        """
        return self._copies.promote(self.tickets[number], priority)

    def drop(self, number: int) -> bool:
        """Take back a copy that has not started; False if it has, and then it runs in vain."""
        ticket = self.tickets[number]
        # Before the recall: should the copy have begun, the arena knows that its buffer is still
        # written.
        self._work.give_up(ticket)
        return self._copies.drop(ticket)

    def run(self, process: Generator[Wait, None, None]) -> None:
        """Let the process decide until the process and all tasks have ended; it waits for gates.

        Raises the error of a task that failed on a lane.
        """
        for wait in process:
            # Before the wait, in which the link would otherwise stand still.
            self._run_ahead(wait)
            finish([self.tickets[number] for number in wait])
        finish(self.tickets)

    def _run_ahead(self, wait: Wait) -> None:
        """Submit the copies of layers that need not wait for that gate."""
        if self._ahead is None:
            return
        gate = self.tickets[wait[0]]
        for copy in self._ahead.next_after((self._work.index, gate.layer)):
            label = TaskLabel(TaskKind.LAYER_FETCH, copy.step, copy.layer)
            work = self._work.layer_copy(copy.number, copy.layer)
            ticket = Ticket(H2D, label, copy.duration_ns, 0, work)
            ticket.waits = () if copy.after == NONE else (self.tickets[copy.after],)
            self._lanes[H2D].submit(ticket)
            self._early.append(ticket)

    @property
    def _copies(self) -> PriorityLane:
        lane = self._lanes[H2D]
        assert isinstance(lane, PriorityLane), (
            "only copies to the accelerator are promoted or taken back"
        )
        return lane


def _tickets_of(tasks: TaskTable, before: Sequence[Ticket]) -> Iterator[Ticket]:
    """Yield a ticket for each task; ``before`` are all that were submitted by then.

    Whole columns are converted to Python numbers at once. The deciding thread shares a core with
    threads that compute, so its work slows theirs.
    """
    labels = zip(
        (_KINDS[kind] for kind in tasks.kind.tolist()),
        tasks.step.tolist(),
        tasks.layer.tolist(),
        tasks.expert.tolist(),
        strict=True,
    )
    dependencies = tasks.dependencies.tolist()
    waits = (dependencies[first:end] for first, end in pairwise(tasks.dependency_offsets.tolist()))
    columns = (tasks.resource, tasks.duration_ns, tasks.priority, tasks.num_chunks)
    rows = zip(labels, waits, *(column.tolist() for column in columns), strict=True)
    for label, others, resource, duration_ns, priority, num_chunks in rows:
        ticket = Ticket(resource, TaskLabel(*label), duration_ns, priority, None, num_chunks)
        ticket.waits = tuple([before[number] for number in others])
        yield ticket
