"""Long decodes whose copies go on from pass to pass: some passes at a time, with what is under way
carried over each border.

Of a part, whole passes whose tasks have all ended are shown and left out; the others are kept until
they have.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.engine.state import DONE, END, START, STARTED
from sim.engine.timeline import Timeline, digest_rows
from sim.policies.foresight import Foresight
from sim.step.execute import Execution, live_decisions
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.live_border import Driven, drive_part
from sim.step.lowering.live_fast import timeline_of
from sim.step.lowering.live_run import live_job
from sim.step.metrics import Totals, totals_of
from sim.step.parts import Part
from sim.step.simulate import Scenario
from sim.workload.batch import Passes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnshownPasses:
    """Passes that are not shown yet, with the tasks that end them."""

    passes: Passes
    tokens: NDArray[np.int32]
    decisions: Decisions
    last_task: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.last_task)

    def between(self, first: int, end: int) -> "UnshownPasses":
        """Some of them."""
        return UnshownPasses(
            passes=passes_between(self.passes, first, end),
            tokens=self.tokens[first:end],
            decisions=_decisions(self.decisions, slice(first, end)),
            last_task=self.last_task[first:end],
        )

    def followed_by(self, later: "UnshownPasses", num_left_out: int) -> "UnshownPasses":
        """Return these passes with those of the next part, which numbers its tasks after leaving
        ``num_left_out`` out.
        """
        columns = {
            item.name: np.concatenate(
                [getattr(self.passes, item.name), getattr(later.passes, item.name)]
            )
            for item in fields(Passes)
        }
        own, theirs = self.decisions, later.decisions
        return UnshownPasses(
            passes=replace(later.passes, **columns),
            tokens=np.concatenate([self.tokens, later.tokens]),
            decisions=Decisions(
                actions=np.concatenate([own.actions, theirs.actions]),
                modes=np.concatenate([own.modes, theirs.modes]),
                head_modes=np.concatenate([own.head_modes, theirs.head_modes]),
                spilled=None
                if own.spilled is None or theirs.spilled is None
                else np.concatenate([own.spilled, theirs.spilled]),
            ),
            last_task=np.concatenate([self.last_task - num_left_out, later.last_task]),
        )


class LiveParts:
    """The parts of a live run so far: what is under way, and the totals of what has been shown."""

    def __init__(self, scenario: Scenario, residency: Residency) -> None:
        """Nothing was driven yet."""
        self.hash = hashlib.sha256()
        self.totals: Totals | None = None
        self._scenario = scenario
        self._residency = residency
        self._driven: Driven | None = None
        self._waiting: UnshownPasses | None = None
        # Tasks at the front that were shown already, and rows (resource, start, end) of shown ones
        # that outlast the passes shown.
        self._num_shown = 0
        self._beyond = np.zeros((0, 3), np.int64)
        self._shown_ns = 0

    def add(self, foresight: Foresight, look: Callable[[Part], None], *, is_last: bool) -> None:
        """Drive the next passes, and show those that have ended."""
        policy = self._scenario.policy
        decisions = live_decisions(policy, self._residency, foresight)
        # The task before those that are needed is kept: it stands for all that have ended.
        num_left_out = max(0, self._num_shown - 1)
        job = live_job(policy, self._residency, foresight, decisions)
        self._driven = drive_part(job, self._driven, num_left_out, is_last=is_last)
        self._num_shown -= num_left_out
        job = self._driven.job
        fresh = UnshownPasses(
            passes=foresight.passes,
            tokens=foresight.tokens,
            decisions=replace(decisions, spilled=job.spilled),
            last_task=job.draft.last_task,
        )
        waiting = fresh if self._waiting is None else self._waiting.followed_by(fresh, num_left_out)
        count = len(waiting)
        if not is_last:
            count = int(np.searchsorted(waiting.last_task, self._driven.first_needed()))
        if count:
            self._show(waiting.between(0, count), foresight, look, is_last=is_last)
        self._waiting = waiting.between(count, len(waiting))

    def _show(
        self,
        shown: UnshownPasses,
        foresight: Foresight,
        look: Callable[[Part], None],
        *,
        is_last: bool,
    ) -> None:
        assert self._driven is not None
        driven = self._driven
        first = self._num_shown
        end = driven.num_tasks if is_last else int(shown.last_task[-1]) + 1
        timeline = timeline_of(driven.job, driven.rows, first, end)
        execution = Execution(
            decisions=shown.decisions,
            timeline=timeline,
            tokens=shown.tokens,
            last_task=shown.last_task - first,
            wasted_prefetch_bytes=driven.wasted_bytes() if is_last else 0,
        )
        self.hash.update(digest_rows(timeline))
        totals = totals_of(
            execution, replace(foresight, passes=shown.passes), np.flatnonzero(shown.tokens)
        )
        self.totals = totals if self.totals is None else self.totals.continued_by(totals)
        until_ns = (
            self.totals.makespan_ns if is_last else int(driven.rows.times[END, shown.last_task[-1]])
        )
        part = Part(
            scenario=self._scenario,
            passes=shown.passes,
            tokens=shown.tokens,
            decisions=shown.decisions,
            timeline=timeline,
            busy=self._busy(driven, timeline, end, until_ns),
        )
        self._num_shown = end
        self._shown_ns = until_ns
        look(part)

    def _busy(self, driven: Driven, timeline: Timeline, end: int, until_ns: int) -> Timeline:
        """What was busy since the passes shown before, up to the end of these, from time 0 on."""
        started = np.flatnonzero(driven.rows.tasks["state"][end : driven.num_submitted] >= STARTED)
        started = started[driven.rows.times[START, end + started] < until_ns] + end
        has_ended = driven.rows.tasks["state"][started] >= DONE
        later = np.stack(
            [
                driven.rows.tasks["resource"][started],
                driven.rows.times[START, started],
                np.where(has_ended, driven.rows.times[END, started], until_ns),
            ],
            axis=1,
        )
        own = np.stack([timeline.tasks.resource, timeline.start_ns, timeline.end_ns], axis=1)
        rows = np.concatenate([self._beyond, own])
        self._beyond = rows[rows[:, 2] > until_ns]
        rows = np.concatenate([rows, later])
        return _busy_rows(timeline, rows, self._shown_ns, until_ns)


def _busy_rows(
    timeline: Timeline, rows: NDArray[np.int64], from_ns: int, until_ns: int
) -> Timeline:
    """A timeline of nothing but who is busy: rows (resource, start, end), cut at both times."""
    starts = np.clip(rows[:, 1], from_ns, until_ns) - from_ns
    ends = np.clip(rows[:, 2], from_ns, until_ns) - from_ns
    kept = ends > starts
    count = int(kept.sum())
    # Of these tasks only the resource means anything.
    tasks = replace(
        timeline.tasks,
        **{
            item.name: np.zeros(count, getattr(timeline.tasks, item.name).dtype)
            for item in fields(timeline.tasks)
            if not item.name.startswith("dependenc")
        },
        dependency_offsets=np.zeros(count + 1, np.int64),
        dependencies=np.zeros(0, np.int64),
    )
    tasks.resource[:] = rows[kept, 0]
    return replace(
        timeline,
        tasks=tasks,
        start_ns=starts[kept],
        end_ns=ends[kept],
        busy_ns=(ends - starts)[kept],
        is_dropped=np.zeros(count, np.bool_),
    )


def passes_between(passes: Passes, first: int, end: int) -> Passes:
    """Some of the passes."""
    columns = {item.name: getattr(passes, item.name)[first:end] for item in fields(Passes)}
    return replace(passes, **columns)


def _decisions(decisions: Decisions, chosen: slice) -> Decisions:
    return Decisions(
        actions=decisions.actions[chosen],
        modes=decisions.modes[chosen],
        head_modes=decisions.head_modes[chosen],
        spilled=None if decisions.spilled is None else decisions.spilled[chosen],
    )
