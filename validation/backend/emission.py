"""Tasks in the simulator's order, with the same dependencies: what ``sim.step.lowering.emit`` does,
for real lanes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sim.engine.program import Platform
from sim.engine.task import NONE, Task, TaskKind, task_table
from sim.engine.timeline import Timeline
from sim.step.lowering.draft import CPU, D2H, GPU, H2D, HOST
from validation.backend.lane import Line, finish
from validation.backend.ticket import TaskLabel, Ticket, Work

__all__ = ["CPU", "D2H", "GPU", "H2D", "HOST", "Emission", "timeline_of"]


class Emission:
    """The tasks of a run so far, and what the next one waits for."""

    def __init__(self, lanes: Sequence[Line]) -> None:
        self.tickets: list[Ticket] = []
        self.is_serial = False
        self.step = 0
        self.join: tuple[Ticket | None, Ticket | None] = (None, None)
        self._lanes = lanes

    def append(
        self,
        resource: int,
        kind: TaskKind,
        layer: int,
        expert: int,
        duration_ns: int,
        work: Work | None,
        *waits: Ticket | None,
    ) -> Ticket:
        """Submit one task; in a serial pass it also waits for the task before it."""
        ticket = self.prepared(resource, kind, layer, expert, duration_ns, work, *waits)
        self._lanes[resource].submit(ticket)
        self.tickets.append(ticket)
        return ticket

    def ahead(
        self,
        resource: int,
        kind: TaskKind,
        layer: int,
        duration_ns: int,
        work: Work,
        step: int,
        *waits: Ticket | None,
    ) -> Ticket:
        """Submit a task before its turn: its number is that of the moment it is ``claimed``."""
        ticket = self.prepared(resource, kind, layer, NONE, duration_ns, work, *waits)
        ticket.step = step
        self._lanes[resource].submit(ticket)
        return ticket

    def claim(self, ticket: Ticket) -> Ticket:
        """The turn of a task that was submitted ahead has come."""
        self.tickets.append(ticket)
        return ticket

    def prepared(
        self,
        resource: int,
        kind: TaskKind,
        layer: int,
        expert: int,
        duration_ns: int,
        work: Work | None,
        *waits: Ticket | None,
    ) -> Ticket:
        """The task with what it waits for, in the simulator's order."""
        # A lane with priorities sends activations first: the next layer waits for them.
        priority = -1 if kind is TaskKind.ACTIVATION_COPY else 0
        label = TaskLabel(kind, self.step, layer, expert)
        ticket = Ticket(resource, label, duration_ns, priority, work)
        before = (self.tickets[-1],) if self.is_serial and self.tickets else ()
        ticket.waits = tuple(other for other in waits if other is not None) + before
        return ticket

    def finish(self) -> None:
        """Return once all has ended. Raises what went wrong on a lane."""
        finish(self.tickets)


def timeline_of(tickets: Sequence[Ticket], platform: Platform, began_ns: int) -> Timeline:
    """What happened, in the simulator's format, from that instant on; a task's duration is what it
    was made to last.
    """
    numbers: Mapping[Ticket, int] = {ticket: number for number, ticket in enumerate(tickets)}
    return Timeline(
        platform=platform,
        tasks=task_table([_task(ticket, numbers) for ticket in tickets]),
        start_ns=np.array([ticket.start_ns - began_ns for ticket in tickets], np.int64),
        end_ns=np.array([ticket.end_ns - began_ns for ticket in tickets], np.int64),
        busy_ns=np.array([ticket.busy_ns for ticket in tickets], np.int64),
        is_dropped=np.array([ticket.is_dropped for ticket in tickets], bool),
    )


def _task(ticket: Ticket, numbers: Mapping[Ticket, int]) -> Task:
    return Task(
        resource=ticket.resource,
        duration_ns=ticket.duration_ns,
        after=tuple(numbers[other] for other in ticket.waits),
        priority=ticket.priority,
        num_chunks=ticket.num_chunks,
        kind=ticket.kind,
        step=ticket.step,
        layer=ticket.layer,
        expert=ticket.expert,
        num_bytes=ticket.num_bytes,
    )
