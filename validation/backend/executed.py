"""The record of an executed run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sim.engine.program import Platform
from sim.engine.task import Task, task_table
from sim.engine.timeline import Timeline
from sim.step.lowering.decisions import Decisions
from sim.workload.batch import Passes
from validation.backend.forward_pass import Sequences
from validation.backend.ticket import Ticket


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExecutedRun:
    """A run that happened: its timeline, its decisions, and its results.

    Arrays [task]: ``work_ns`` is how long the real work took, ``submitted_ns`` when the task was
    given to its lane. ``lost_ns`` is how long the task's thread had no core while it worked.
    ``lane_order`` is the task's place among the tasks that its lane served.

    ``is_paced`` [resource] says whose tasks were made to last their price. ``logits_SV`` has one
    entry for each pass that gives tokens. ``expert_ids`` is as in Foresight.
    """

    timeline: Timeline
    decisions: Decisions
    passes: Passes
    tokens: NDArray[np.int32]
    expert_ids: NDArray[np.int16]
    logits_SV: tuple[Tensor, ...]
    tokens_SC: Tensor
    work_ns: NDArray[np.int64]
    submitted_ns: NDArray[np.int64]
    lost_ns: NDArray[np.int64]
    lane_order: NDArray[np.int64]
    is_paced: NDArray[np.bool_]

    @property
    def lost_fraction(self) -> float:
        """The time in which tasks had no core, over the time that tasks worked."""
        worked_ns = int(self.work_ns.sum())
        return int(self.lost_ns.sum()) / worked_ns if worked_ns else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LaneRecord:
    """The tasks that a platform's lanes ran from ``began_ns`` on; ``is_paced`` is as in
    ExecutedRun.
    """

    tickets: Sequence[Ticket]
    platform: Platform
    began_ns: int
    is_paced: NDArray[np.bool_]


def executed_of(
    seen: LaneRecord,
    decisions: Decisions,
    passes: Passes,
    tokens: NDArray[np.int32],
    sequences: Sequences,
) -> ExecutedRun:
    """Return the run that the tasks and the sequences make up, and free what the tasks worked
    on.
    """
    tickets = seen.tickets
    for ticket in tickets:
        # Results outlive the run, and a task's work would keep its weights in memory.
        ticket.let_go()
    return ExecutedRun(
        timeline=_timeline_of(seen),
        decisions=decisions,
        passes=passes,
        tokens=tokens,
        expert_ids=sequences.expert_ids,
        logits_SV=tuple(sequences.logits_SV),
        tokens_SC=sequences.tokens_SC,
        work_ns=np.array([ticket.worked_ns - ticket.start_ns for ticket in tickets], np.int64),
        submitted_ns=np.array(
            [ticket.submitted_ns - seen.began_ns for ticket in tickets], np.int64
        ),
        lost_ns=np.array([ticket.lost_ns for ticket in tickets], np.int64),
        lane_order=np.array([ticket.lane_order for ticket in tickets], np.int64),
        is_paced=seen.is_paced,
    )


def _timeline_of(seen: LaneRecord) -> Timeline:
    """Return the timeline of the tasks; a task's duration is what it was made to last."""
    tickets = seen.tickets
    numbers: Mapping[Ticket, int] = {ticket: number for number, ticket in enumerate(tickets)}
    return Timeline(
        platform=seen.platform,
        tasks=task_table([_task(ticket, numbers) for ticket in tickets]),
        start_ns=np.array([ticket.start_ns - seen.began_ns for ticket in tickets], np.int64),
        end_ns=np.array([ticket.end_ns - seen.began_ns for ticket in tickets], np.int64),
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
