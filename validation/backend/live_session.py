"""A session on real lanes: the process that decides gate by gate for the simulator's engines
decides here, by the clock on the wall.
"""

import time
from collections.abc import Generator, Sequence

from sim.engine.program import Wait
from sim.engine.task import TaskKind, TaskTable
from sim.step.lowering.draft import H2D
from validation.backend.lane import Line, finish
from validation.backend.live_work import LiveWork
from validation.backend.priority_lane import PriorityLane
from validation.backend.slot_arena import SlotArena
from validation.backend.ticket import TaskLabel, Ticket


class LiveSession:
    """What ``sim.engine.program.Session`` asks of an engine.

    A copy may start between a look at it and its recall: then it runs.
    """

    def __init__(self, lanes: Sequence[Line], work: LiveWork, arena: SlotArena) -> None:
        self.tickets: list[Ticket] = []
        self._lanes = lanes
        self._work = work
        self._arena = arena
        self._began_ns = time.perf_counter_ns()

    @property
    def now_ns(self) -> int:
        """The current instant."""
        return time.perf_counter_ns() - self._began_ns

    def submit(self, tasks: TaskTable) -> int:
        """Give every task its work, and its lane the task; returns the number of the first."""
        first = len(self.tickets)
        for row in range(len(tasks)):
            ticket = self._ticket(tasks, row)
            self._work.bind(ticket, first + row)
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
        """When a task that has begun did so; of any other the answer means nothing."""
        return self.tickets[number].start_ns - self._began_ns

    def promote(self, number: int, priority: int) -> bool:
        """Give a copy that has not started another priority; False, and no effect, if it has
        started.
        """
        return self._copies.promote(self.tickets[number], priority)

    def drop(self, number: int) -> bool:
        """Take back a copy that has not started; False if it has, and then it runs in vain."""
        ticket = self.tickets[number]
        # Before the recall: should the copy have begun, the arena knows that its buffer is still
        # written.
        self._arena.give_up(ticket.layer, ticket.expert, ticket)
        return self._copies.drop(ticket)

    def run(self, process: Generator[Wait, None, None]) -> None:
        """Let the process decide until it ends, and all tasks end; it waits for gates.

        Raises what went wrong on a lane.
        """
        for wait in process:
            finish([self.tickets[number] for number in wait])
        finish(self.tickets)

    @property
    def _copies(self) -> PriorityLane:
        lane = self._lanes[H2D]
        assert isinstance(lane, PriorityLane), (
            "only copies to the accelerator are promoted or taken back"
        )
        return lane

    def _ticket(self, tasks: TaskTable, row: int) -> Ticket:
        label = TaskLabel(
            TaskKind(int(tasks.kind[row])),
            int(tasks.step[row]),
            int(tasks.layer[row]),
            int(tasks.expert[row]),
        )
        ticket = Ticket(
            int(tasks.resource[row]),
            label,
            int(tasks.duration_ns[row]),
            int(tasks.priority[row]),
            None,
            int(tasks.num_chunks[row]),
        )
        first, end = tasks.dependency_offsets[row : row + 2].tolist()
        ticket.waits = tuple(
            self.tickets[number] for number in tasks.dependencies[first:end].tolist()
        )
        return ticket
