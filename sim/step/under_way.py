"""Long decodes whose tasks go on from one part to the next.

Passes whose tasks have all ended are shown, and their tasks are left out of the next part. Other
passes are kept until their tasks have ended.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.engine.state import DONE, END, START, STARTED, EngineRows
from sim.engine.timeline import Timeline, digest_rows
from sim.policies.foresight import Foresight
from sim.step.execute import Execution
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.job import Job, timeline_of
from sim.step.metrics import Totals, most_staged, totals_of
from sim.step.parts import Part
from sim.step.simulate import Scenario
from sim.workload.batch import Passes, passes_between


class Driven(Protocol):
    """A part that was driven, and the engine's rows of it."""

    @property
    def job(self) -> Job:
        """The job that was driven, with the tasks left over from earlier parts."""

    @property
    def rows(self) -> EngineRows:
        """The engine's rows of these tasks."""

    @property
    def num_tasks(self) -> int:
        """The number of tasks emitted so far, including those left over from earlier parts."""

    @property
    def num_submitted(self) -> int:
        """The number of tasks that the engine has; its rows of other tasks mean nothing."""

    def first_needed(self) -> int:
        """The number of the first task that goes on in the next part."""

    def wasted_bytes(self) -> int:
        """Return the wasted bytes as in LiveJob, at the end of the run."""


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
        """Return the passes with numbers from ``first`` to ``end`` - 1."""
        return UnshownPasses(
            passes=passes_between(self.passes, first, end),
            tokens=self.tokens[first:end],
            decisions=_decisions(self.decisions, slice(first, end)),
            last_task=self.last_task[first:end],
        )

    def followed_by(self, later: "UnshownPasses", num_left_out: int) -> "UnshownPasses":
        """Return these passes followed by those of the next part.

        The next part has left out ``num_left_out`` tasks, so the tasks of these passes are
        renumbered.
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


class UnderWay(ABC):
    """The parts of a run so far: what is under way, and the totals of the passes that were shown.

    The last ``num_kept`` shown passes are kept with their tasks. What a GPU's buffers hold while
    such a pass runs is known only once the passes after it are shown.
    """

    def __init__(self, scenario: Scenario, residency: Residency, num_kept: int = 0) -> None:
        """Begin with no part driven."""
        self.hash = hashlib.sha256()
        self.totals: Totals | None = None
        self._scenario = scenario
        self._residency = residency
        self._waiting: UnshownPasses | None = None
        # The tasks that end the latest passes shown, the oldest first: those before it are left out.
        self._num_kept = num_kept
        self._shown_ends = np.zeros(0, np.int64)
        # Rows (resource, start, end) of shown tasks that outlast the passes shown.
        self._beyond = np.zeros((0, 3), np.int64)
        self._shown_ns = 0

    @abstractmethod
    def _drive(
        self, foresight: Foresight, num_left_out: int, num_passes: int, *, is_last: bool
    ) -> tuple[Driven, UnshownPasses]:
        """Drive the next passes, going on from the part before without its first ``num_left_out``
        tasks.
        """

    def add(
        self,
        foresight: Foresight,
        look: Callable[[Part], None],
        num_passes: int,
        *,
        is_last: bool,
    ) -> None:
        """Drive the next ``num_passes`` passes, and show those that have ended.

        ``foresight`` is of these passes and of some passes after them.
        """
        # The task before those that are needed is kept: it stands for all that have ended.
        is_more = len(self._shown_ends) > self._num_kept
        num_left_out = int(self._shown_ends[0]) if is_more else 0
        driven, fresh = self._drive(foresight, num_left_out, num_passes, is_last=is_last)
        self._shown_ends -= num_left_out
        waiting = fresh if self._waiting is None else self._waiting.followed_by(fresh, num_left_out)
        count = len(waiting)
        if not is_last:
            count = int(np.searchsorted(waiting.last_task, driven.first_needed()))
        if count:
            self._show(driven, waiting.between(0, count), foresight, look, is_last=is_last)
        self._waiting = waiting.between(count, len(waiting))

    def _show(
        self,
        driven: Driven,
        shown: UnshownPasses,
        foresight: Foresight,
        look: Callable[[Part], None],
        *,
        is_last: bool,
    ) -> None:
        first = int(self._shown_ends[-1]) + 1 if len(self._shown_ends) else 0
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
        if self._num_kept:
            window = timeline_of(driven.job, driven.rows, 0, end)
            totals = replace(totals, staged_bytes=most_staged(window, foresight.problem))
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
        ends = np.unique(np.concatenate([self._shown_ends, shown.last_task]))
        self._shown_ends = ends[-1 - self._num_kept :]
        self._shown_ns = until_ns
        look(part)

    def _busy(self, driven: Driven, timeline: Timeline, end: int, until_ns: int) -> Timeline:
        """Return a timeline of the busy resources from the end of the passes shown before to
        ``until_ns``.

        The timeline begins at 0.
        """
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
    """Return a timeline that only says which resources are busy.

    ``rows`` are (resource, start, end) in ns, cut at ``from_ns`` and ``until_ns``. The timeline
    begins at ``from_ns``.
    """
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


def _decisions(decisions: Decisions, chosen: slice) -> Decisions:
    return Decisions(
        actions=decisions.actions[chosen],
        modes=decisions.modes[chosen],
        head_modes=decisions.head_modes[chosen],
        spilled=None if decisions.spilled is None else decisions.spilled[chosen],
    )
