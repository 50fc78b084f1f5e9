"""The computation of the points that a study's folder lacks, and the reading of its outcomes."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output
from rosin.cli.scenario import compile_first
from rosin.cli.stopping import stopping
from rosin.cli.study_progress import StudyProgress

if TYPE_CHECKING:
    from planner.search.plan import Setting
    from planner.study.cluster import Crew
    from planner.study.outcome import Outcome, PointJob
    from planner.study.sensitivity import Variation
    from planner.study.store import PointStore
    from planner.study.study import Keys, Study
    from rosin.commands.whatif.result import Tornado
    from rosin.commands.whatif.rows import OutcomesAt

STUDY_FILE = "study.sqlite"
PLANS_WITH = "fast"
"""The engine that plans every point."""

WorkersOption = Annotated[
    int | None, named("--workers", "N", "Processes to plan in; otherwise one a core.", least=1)
]
SchedulerOption = Annotated[
    str | None,
    named(
        "--scheduler",
        "ADDRESS",
        "Plan on the workers of this Dask scheduler, such as tcp://host:8786.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers(OptionGroup):
    """The workers that compute: those of a Dask scheduler, or processes on this computer."""

    workers: WorkersOption = None
    scheduler: SchedulerOption = None

    def most(self, num_points: int) -> int:
        """Return the number of processes on this computer that plan at once.

        A scheduler counts as one process here, wherever its workers are.
        """
        if self.scheduler is not None:
            return 1
        return min(self.workers or os.cpu_count() or 1, num_points)

    @contextmanager
    def crew(self, num_missing: int) -> Iterator["Crew"]:
        """Start as many processes as are of use, or none if one is enough.

        Raises InputError if the scheduler does not answer.
        """
        from planner.search.inline import InlineExecutor
        from planner.study.cluster import Crew, cluster_crew
        from planner.study.workers import process_pool

        if self.scheduler is not None:
            with cluster_crew(self.scheduler) as crew:
                yield crew
            return
        count = self.most(num_missing)
        with process_pool(count) if count > 1 else InlineExecutor() as executor:
            yield Crew(executor=executor, at_once=lambda: count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A finished sweep: the outcomes of the study, read on demand, and those of the tornado.

    ``let_go`` lets another command use the folder.
    """

    outcomes_at: "OutcomesAt"
    tornado: "Tornado | None"
    num_computed: int
    let_go: Callable[[], None]


@contextmanager
def swept_study(
    study: "Study", folder: Path, workers: Workers, output: Output, *, has_tornado: bool
) -> Iterator[Swept]:
    """Compute the points that the folder lacks, and give access to all outcomes.

    The outcomes are read from the study's file, which stays open inside the ``with`` block.
    """
    from planner.study.sensitivity import variations
    from planner.study.store import open_store

    keys = study.keys()
    varied = list(variations(study.base)) if has_tornado else []
    asked = _Asked(study=study, others=list(_tornado_settings(study, varied)), keys=keys)
    with open_store(folder / STUDY_FILE, keys.identity(study.base)) as store:
        # The tornado's points go along with the others, so that no worker waits between the two.
        num_computed = _run(asked, store, workers, output)
        tornado = _tornado(varied, list(store.outcomes(asked.names[study.num_points :])))
        yield Swept(
            outcomes_at=lambda places: store.outcomes(asked.names[place] for place in places),
            tornado=tornado,
            num_computed=num_computed,
            let_go=store.let_go,
        )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """All points of a command: those of the study in its order, then those of the tornado."""

    study: "Study"
    others: Sequence["Setting"]
    keys: "Keys"

    def settings(self) -> Iterator["Setting"]:
        """Yield every setting. Each is made anew, since many would take much memory."""
        yield from (point.setting for point in self.study.points())
        yield from self.others

    @cached_property
    def names(self) -> Sequence[str]:
        """Return the key of each setting."""
        return [self.keys.key(setting) for setting in self.settings()]

    def jobs(self) -> Iterator["PointJob"]:
        """Yield the job of each setting."""
        from planner.study.outcome import jobs_of

        return jobs_of(self.study, self.settings(), self.names)


def _run(asked: _Asked, store: "PointStore", workers: Workers, output: Output) -> int:
    """Compute the missing points and return their number.

    After an interruption, print how many points are kept.
    """
    from planner.study.sweep import sweep

    # A point of the tornado may be one of the study as well, and is planned once.
    wanted = set(asked.names)
    num_missing = len(wanted - store.kept_keys())
    if not num_missing:
        return 0
    compile_first(PLANS_WITH, output)
    progress = StudyProgress(len(wanted), len(wanted) - num_missing, is_shown=output.is_watched)

    def on_point(job: "PointJob", outcome: "Outcome") -> None:
        """Show that a point is planned, and stop if somebody asked for it."""
        progress(job, outcome)
        # A signal that arrived inside one of Python's own callbacks raised nothing there.
        stop.check()

    try:
        with stopping() as stop, workers.crew(num_missing) as crew:
            return sweep(asked.jobs(), store, crew.executor, on_point, at_once=crew.at_once)
    except KeyboardInterrupt:
        # The message would otherwise be printed onto the line of progress.
        progress.close()
        print(
            f"{len(wanted & store.kept_keys()):,} of {len(wanted):,} points are kept; the same command goes on",
            file=sys.stderr,
        )
        raise
    finally:
        progress.close()


def _tornado_settings(study: "Study", varied: Sequence["Variation"]) -> Iterator["Setting"]:
    if varied:
        yield study.base
    for variation in varied:
        yield variation.low
        yield variation.high


def _tornado(varied: Sequence["Variation"], outcomes: Sequence["Outcome"]) -> "Tornado | None":
    from rosin.commands.whatif.result import Tornado

    if not varied:
        return None
    base, *others = outcomes
    return Tornado(base=base, variations=list(zip(varied, others[::2], others[1::2], strict=True)))
