"""`rosin whatif`: what would change if numbers of the machine or of the work were others."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.memory_guard import refuse_large_plan
from rosin.cli.named_option import named, written
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output, OutputOptions
from rosin.cli.scenario import (
    ScenarioOptions,
    ScenarioRequest,
    compile_first,
    read_options,
)
from rosin.cli.stopping import stopping
from rosin.cli.study_progress import StudyProgress
from rosin.version import __version__

if TYPE_CHECKING:
    from planner.search.plan import Setting
    from planner.study.cluster import Crew
    from planner.study.outcome import Job, Outcome
    from planner.study.sensitivity import Variation
    from planner.study.store import PointStore
    from planner.study.study import Study
    from rosin.commands.whatif.result import Tornado

STUDY_FILE = "study.sqlite"

VaryOption = Annotated[
    list[str] | None,
    named(
        "--vary",
        "PATH=VALUES",
        "Let a number of the machine, or one of model, machine, quantization, routing, prompt_tokens, output_tokens, batch, beams, "
        "expert_slots_per_layer, seed take each of these values: link.h2d.bytes_per_s=12e9,25e9 or start:stop:count[:log]; "
        "may be repeated, for all combinations.",
    ),
]
StudyObjectiveOption = Annotated[
    str | None,
    named(
        "--objective",
        "WHAT",
        "What to plan for: throughput, latency, ttft or tpot; otherwise throughput.",
    ),
]
TornadoOption = Annotated[
    bool,
    typer.Option(
        "--tornado",
        help="Plan also with each main number of the machine 20 % less and 20 % more; draw what that changes.",
    ),
]
NoBoundsOption = Annotated[
    bool, typer.Option("--no-bounds", help="Leave out the proven limits at every point: faster.")
]
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
PricesOption = Annotated[
    Path | None,
    named("--prices", "FILE", "Prices of the values that vary (.yaml); draws price against speed."),
]
FolderOption = Annotated[
    Path | None,
    written("DIR", "Keep the study, its table and figures in this folder; again, to go on."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workers(OptionGroup):
    """Who computes: a Dask scheduler's workers, or processes here."""

    workers: WorkersOption = None
    scheduler: SchedulerOption = None

    def most(self, num_points: int) -> int:
        """Processes here that plan at once; where a scheduler's workers do, one stands for whatever
        runs here.
        """
        if self.scheduler is not None:
            return 1
        return min(self.workers or os.cpu_count() or 1, num_points)

    @contextmanager
    def crew(self, num_missing: int) -> Iterator["Crew"]:
        """As many processes as are of use, none for one. Raises InputError where no scheduler
        answers.
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
class StudyOptions(OptionGroup):
    """What is studied, as typed."""

    vary: VaryOption = None
    objective: StudyObjectiveOption = None
    tornado: TornadoOption = False
    no_bounds: NoBoundsOption = False

    def words(self) -> Iterator[str]:
        """The words of the command line that say it again."""
        for text in self.vary or ():
            yield from ("--vary", text)
        if self.objective is not None:
            yield from ("--objective", self.objective)
        if self.tornado:
            yield "--tornado"
        if self.no_bounds:
            yield "--no-bounds"


def whatif(
    *,
    options: ScenarioOptions,
    asked: StudyOptions,
    computing: _Workers,
    prices: PricesOption = None,
    output_folder: FolderOption = None,
    said: OutputOptions,
) -> None:
    """Plan anew at every point of a study, and show what changes."""
    from planner.study.prices import NO_PRICES, load_prices
    from rosin.commands.whatif.files import shared_provenance, write_files
    from rosin.commands.whatif.page import whatif_page
    from rosin.commands.whatif.result import whatif_result

    study, request = _study(options, asked)
    _check_size(study, request, computing)
    costs = load_prices(prices, study.axes) if prices is not None else NO_PRICES
    folder = _folder(output_folder)
    output = said.with_seed(study.base.seed)
    compile_first(request.engine, output)
    swept = _swept(study, folder, computing, output, has_tornado=asked.tornado)
    priced = () if prices is None else ("--prices", str(prices))
    command = options.command("whatif", *asked.words(), *priced, "-o", str(folder))
    result = whatif_result(
        study,
        swept.outcomes,
        costs,
        swept.tornado,
        command=command,
        num_computed=swept.num_computed,
    )
    files, warnings = write_files(result, folder)
    result = result.model_copy(
        update={"files": [str(file) for file in (folder / STUDY_FILE, *files)]}
    )
    provenance = shared_provenance(swept.outcomes)
    output.emit(
        result.model_dump(mode="json"),
        whatif_page(result),
        provenance=provenance,
        warnings=warnings,
    )
    # Raised last: the folder then says for every point how much is missing.
    if not any(outcome.is_feasible for outcome in swept.outcomes):
        raise _nothing_fits(swept.outcomes, folder)


def _study(options: ScenarioOptions, asked: StudyOptions) -> tuple["Study", ScenarioRequest]:
    """What is asked, checked at every point. Raises InputError."""
    from hwprofiles import InputError
    from planner.study.axes import parse_axes
    from planner.study.study import Study
    from planner.study.study_check import check_study

    if not asked.vary and not asked.tornado:
        raise InputError(
            "missing option '--vary'; for example --vary link.h2d.bytes_per_s=12e9,25e9,50e9"
        )
    axes = parse_axes(asked.vary or ())
    # The base needs a model and a machine; where only --vary names them, the first ones serve.
    firsts = {axis.path: str(axis.values[0]) for axis in axes if axis.path in ("model", "machine")}
    model = options.model or firsts.get("model")
    machine = options.machine or firsts.get("machine")
    request = read_options(replace(options, model=model, machine=machine))
    for key in request.parameters:
        raise InputError(
            f"--set {key}: whatif chooses the parameters of policies itself; here --set changes numbers of the machine"
        )
    if request.engine != "fast":
        raise InputError(
            f"--engine {request.engine}: whatif plans with the fast engine, whose results are the same"
        )
    wanted = asked.objective or (
        request.plan.goal.objective if request.plan is not None else "throughput"
    )
    study = Study(
        base=request.setting,
        axes=axes,
        objective=wanted,
        version=__version__,
        has_bounds=not asked.no_bounds,
    )
    check_study(study)
    return study, request


def _check_size(study: "Study", request: ScenarioRequest, workers: "_Workers") -> None:
    """Refuse points that would not fit this computer's memory while they are planned: the largest
    of each model. Raises InputError.
    """
    from planner.search.plan import Setting
    from planner.study.outcome import STUDY_DRAWS

    # Of points with one model, the one with the most tokens needs the most memory.
    largest: dict[tuple[str, str | None], tuple[int, Setting]] = {}
    for point in study.points():
        batch = point.setting.batch
        name = (point.setting.model, point.setting.quantization)
        size = batch.num_sequences * batch.context_tokens
        if name not in largest or size > largest[name][0]:
            largest[name] = (size, point.setting)
    for _, setting in largest.values():
        question = replace(request, setting=setting).question()
        refuse_large_plan(question, setting.draws or STUDY_DRAWS, workers.most(study.num_points))


def _folder(path: Path | None) -> Path:
    from hwprofiles import InputError
    from hwprofiles.text_file import make_folder

    if path is None:
        raise InputError("missing option '-o'; name the folder that keeps the study")
    make_folder(path)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swept:
    """A finished sweep: the outcomes in the order of the study, and those of the tornado."""

    outcomes: list["Outcome"]
    tornado: "Tornado | None"
    num_computed: int


def _swept(
    study: "Study", folder: Path, workers: _Workers, output: Output, *, has_tornado: bool
) -> _Swept:
    """Compute what the folder lacks, then read everything back from it."""
    from planner.study.outcome import jobs_of
    from planner.study.sensitivity import variations
    from planner.study.store import open_store

    keys = study.keys()
    varied = list(variations(study.base)) if has_tornado else []
    jobs = jobs_of(study, (point.setting for point in study.points()), keys)
    extra = jobs_of(study, _tornado_settings(study, varied), keys)
    with open_store(folder / STUDY_FILE, keys.identity(study.base)) as store:
        # The tornado's points go along with the others, so that no worker waits between the two.
        num_computed = _run(jobs + extra, store, workers, output)
        outcomes = list(store.outcomes(job.key for job in jobs))
        tornado = _tornado(varied, list(store.outcomes(job.key for job in extra)))
    return _Swept(outcomes=outcomes, tornado=tornado, num_computed=num_computed)


def _run(jobs: Sequence["Job"], store: "PointStore", workers: _Workers, output: Output) -> int:
    """Compute the missing points. On Ctrl-C or SIGTERM, says how many are kept."""
    from planner.study.sweep import sweep

    # A point of the tornado may be one of the study as well, and is planned once.
    wanted = {job.key for job in jobs}
    num_missing = len(wanted - store.kept_keys())
    if not num_missing:
        return 0
    progress = StudyProgress(len(wanted), len(wanted) - num_missing, is_shown=output.is_watched)

    def on_point(job: "Job", outcome: "Outcome") -> None:
        """Say that a point is planned."""
        progress(job, outcome)
        # A signal that arrived inside one of Python's own callbacks raised nothing there.
        stop.check()

    try:
        with stopping() as stop, workers.crew(num_missing) as crew:
            return sweep(jobs, store, crew.executor, on_point, at_once=crew.at_once)
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


def _nothing_fits(outcomes: Sequence["Outcome"], folder: Path) -> NoFeasiblePlan:
    from hwprofiles.units import format_bytes

    nearest = min(outcomes, key=lambda outcome: outcome.missing_bytes or 0)
    shortage = f"{nearest.reason}; {format_bytes(nearest.missing_bytes or 0)} too much"
    return NoFeasiblePlan(
        f"no feasible plan at any of {len(outcomes):,} points (see {folder}), nearest is: {shortage}"
    )
