"""A program that is run in parts, although copies run ahead of their pass.

These are the copies of streamed layers, and the pages of pipelined layers. The first tasks of a
pass wait, directly or not, for the end of the pass before. A copy waits for the last use of its
buffer. So no task begins before the end of the pass that lies as many passes back as there are
buffers. Once the passes in between are emitted, all tasks that can begin by then are known.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.engine.fast import columns_of, refuse_late
from sim.engine.kernels import admit, run
from sim.engine.program import Platform
from sim.engine.state import AWAITED, DONE, FINISHED, EngineRows
from sim.policies.problem import Problem
from sim.room import OWN_MEMORY, Room
from sim.step.lowering.border import joined_draft, joined_rows, moved
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.draft import Draft, N
from sim.step.lowering.job import fresh_rows, table
from sim.step.lowering.lower import (
    RESOURCES,
    checked_prices,
    platform,
    resources_of,
    unemitted,
)
from sim.step.lowering.passes import emit_run
from sim.step.lowering.pipeline import NUM_GROUPS, Flow, emit_pipelined_run
from sim.step.lowering.pipeline_run import PIPELINE_RESOURCES, pipelined_draft
from sim.workload.batch import Passes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramJob:
    """Passes that are to be emitted and run, after those of earlier parts.

    ``flow`` is there if layers are pipelined. Only the first ``num_passes`` of the draft's passes
    are of this part. The others are known for their pages.
    """

    platform: Platform
    draft: Draft
    flow: Flow | None
    num_passes: int
    room: Room = OWN_MEMORY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrivenProgram:
    """A part that was driven: its job, the engine's rows, and ``ends``.

    ``ends`` are the tasks that end the latest groups of passes. The engine may not have reached
    them.
    """

    job: ProgramJob
    rows: EngineRows
    ends: NDArray[np.int64]

    @property
    def num_tasks(self) -> int:
        """The number of tasks emitted so far, including those left over from earlier parts."""
        return int(self.job.draft.state[N])

    @property
    def num_submitted(self) -> int:
        """The number of tasks that the engine has: all emitted tasks."""
        return self.num_tasks

    def first_needed(self) -> int:
        """The number of the first task that has not ended."""
        unfinished = np.flatnonzero(self.rows.tasks["state"][: self.num_tasks] < DONE)
        return int(unfinished[0]) if len(unfinished) else self.num_tasks

    def wasted_bytes(self) -> int:
        """Return 0: nothing is fetched that might not be used."""
        return 0


def num_ahead(problem: Problem) -> int:
    """Return how many passes, or groups of them, must be emitted after the one whose end is
    awaited.
    """
    return 1 + max(1, problem.overlap.staging_layers)


def program_job(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    decisions: Decisions,
    num_passes: int,
) -> ProgramJob:
    """Prepare the first ``num_passes`` of those passes. Raises InputError for copies without a
    buffer.
    """
    if decisions.pipelined is None:
        assert num_passes == len(passes), "only pages come ahead of what is emitted"
        prices = checked_prices(problem, passes, tokens, decisions)
        draft = unemitted(problem, passes, tokens, decisions, prices)
        flow = None
        resources = resources_of(problem, decisions, RESOURCES)
    else:
        draft, flow = pipelined_draft(problem, passes, tokens, decisions, num_passes)
        resources = PIPELINE_RESOURCES
    return ProgramJob(
        platform=platform(problem.machine, resources),
        draft=draft,
        flow=flow,
        num_passes=num_passes,
    )


def drive_program(
    job: ProgramJob,
    before: DrivenProgram | None,
    num_left_out: int,
    *,
    num_behind: int,
    is_last: bool,
) -> DrivenProgram:
    """Emit the passes of a job and run until the group before the last ``num_behind`` groups has
    ended.

    The last part is run to its end. ``before`` goes on without its first ``num_left_out`` tasks.
    Raises InputError when the run would outlast the clock.
    """
    ends = np.zeros(0, np.int64)
    first = 0
    if before is None:
        rows = fresh_rows(job)
    else:
        job = _joined(job, before, num_left_out)
        rows = joined_rows(job, before.job.draft, before.rows, num_left_out)
        ends = before.ends - num_left_out
        first = before.num_tasks - num_left_out
    if job.flow is None:
        emit_run(job.draft)
    else:
        emit_pipelined_run(job.draft, job.flow)
    admit(columns_of(table(job.draft, first, int(job.draft.state[N]))), rows)
    ends = np.concatenate([ends, np.unique(job.draft.last_task[: job.num_passes])])
    if is_last:
        _run(rows, ends[:0], FINISHED)
    elif len(ends) > num_behind:
        _run(rows, ends[-1 - num_behind : len(ends) - num_behind], AWAITED)
    return DrivenProgram(job=job, rows=rows, ends=ends[-num_behind:])


def _run(rows: EngineRows, wait: NDArray[np.int64], expected: int) -> None:
    if run(rows, np.ascontiguousarray(wait)) != expected:
        refuse_late(int(rows.lanes["due"].min()))


def _joined(job: ProgramJob, before: DrivenProgram, num_left_out: int) -> ProgramJob:
    """Return the job of the next passes with all that goes on of the part ``before``."""
    flow = job.flow
    if flow is not None:
        earlier = before.job.flow
        assert earlier is not None, "a run is pipelined throughout"
        num_groups = flow.progress[NUM_GROUPS]
        flow.progress[:] = earlier.progress
        flow.progress[NUM_GROUPS] = num_groups
        flow = flow._replace(
            last_use=moved(earlier.last_use, num_left_out),
            last_page=moved(earlier.last_page, num_left_out),
        )
    draft = joined_draft(job.draft, before.job.draft, num_left_out)
    return replace(job, draft=draft, flow=flow)
