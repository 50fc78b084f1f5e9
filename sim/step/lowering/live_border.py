"""A live run that is driven in parts.

Tasks under way between two passes go on in the next part, and so does the state of the cache.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.engine.fast import refuse_late
from sim.engine.state import AWAITED, DONE, FINISHED, EngineRows
from sim.engine.task import NONE
from sim.step.lowering.border import joined_draft, joined_rows, moved
from sim.step.lowering.draft import N
from sim.step.lowering.job import fresh_rows
from sim.step.lowering.live_fast import LAST, SUBMITTED, drive
from sim.step.lowering.live_run import LiveJob
from sim.step.lowering.slots import NUM_COMING, WASTED_BYTES, held_of

_OF_SLOTS = ("copy", "looked_up", "freed_by", "last_use")
_OF_GATES = ("pinned_at", "used_at")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrivenLive:
    """A part that was driven: its job, the engine's rows, and what ``drive`` wrote about its
    border.
    """

    job: LiveJob
    rows: EngineRows
    border: NDArray[np.int64]

    @property
    def num_tasks(self) -> int:
        """Tasks emitted so far, including those left over from earlier parts."""
        return int(self.job.draft.state[N])

    @property
    def num_submitted(self) -> int:
        """The number of tasks that the engine has; its rows of other tasks mean nothing."""
        return int(self.border[SUBMITTED])

    def first_needed(self) -> int:
        """Return the number of the first task that the next part needs.

        This is the first task that has not ended, or an earlier copy whose end no gate has seen.
        """
        submitted = self.num_submitted
        unfinished = np.flatnonzero(self.rows.tasks["state"][:submitted] < DONE)
        cached = self.job.cached
        coming = cached.coming[: cached.counters[NUM_COMING]]
        copies = cached.slots["copy"].ravel()[coming]
        return min(
            submitted,
            int(unfinished[0]) if len(unfinished) else submitted,
            int(copies.min(initial=submitted)),
        )

    def wasted_bytes(self) -> int:
        """Return the wasted bytes as in LiveJob, at the end of the run.

        An unused copy of an earlier part was not taken back, so it counts.
        """
        cached = self.job.cached
        layers, _ = np.nonzero(cached.slots["is_unused"] == 1)
        unused_bytes = self.job.sheet.layers["expert_bytes"][layers].sum()
        return int(cached.counters[WASTED_BYTES] + unused_bytes)


def drive_part(
    job: LiveJob, before: DrivenLive | None, num_left_out: int, *, is_last: bool
) -> DrivenLive:
    """Drive the passes of a job, going on from ``before`` without its first ``num_left_out`` tasks.

    Raises InputError if the run would outlast the clock.
    """
    border = np.array([0, NONE, not is_last], np.int64)
    if before is None:
        rows = fresh_rows(job)
    else:
        job, rows = _joined(job, before, num_left_out)
        border[SUBMITTED] = before.border[SUBMITTED] - num_left_out
        border[LAST] = before.job.draft.last_task[-1] - num_left_out
    outcome = drive(job.draft, job.cached, job.live, rows, border)
    if outcome != (FINISHED if is_last else AWAITED):
        refuse_late(int(rows.lanes["due"].min()))
    return DrivenLive(job=job, rows=rows, border=border)


def _joined(job: LiveJob, before: DrivenLive, num_left_out: int) -> tuple[LiveJob, EngineRows]:
    """The job of the next passes with all that goes on, and the engine's rows for both."""
    draft = joined_draft(job.draft, before.job.draft, num_left_out)
    cached = before.job.cached
    slots = cached.slots.copy()
    for name in _OF_SLOTS:
        slots[name] = moved(slots[name], num_left_out)
    # Gates are numbered anew, too.
    for name in _OF_GATES:
        slots[name] = NONE
    held = held_of(slots, is_global=bool(cached.rules[0]["is_global"]))
    going_on = job.cached._replace(
        slots=slots,
        scores=cached.scores,
        free=cached.free,
        coming=cached.coming,
        counters=cached.counters,
        **held,
    )
    live = job.live._replace(turn=moved(before.job.live.turn, num_left_out))
    made = replace(job, draft=draft, cached=going_on, live=live)
    return made, joined_rows(made, before.job.draft, before.rows, num_left_out)
