"""`rosin plan`: the fastest way to run one model on one machine, as a file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.kept_memory import keep_memory
from rosin.cli.memory_guard import refuse_large_plan
from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output, OutputOptions
from rosin.cli.progress import SearchProgress
from rosin.cli.scenario import (
    ScenarioOptions,
    ScenarioRequest,
    compile_first,
    read_options,
)
from rosin.commands.plan.files import PlanFiles
from rosin.commands.plan.runtime_options import RuntimePlanOptions
from rosin.version import __version__

if TYPE_CHECKING:
    from rich.console import RenderableType

    from planner.search.make import Planned
    from planner.search.objectives import Goal
    from planner.search.search import Unmet
    from rosin.report.json_documents import PlanResult
    from sim.costs.memory import Infeasible as NothingFits
    from sim.step.simulate import Run

DEFAULT_OBJECTIVE = "throughput"
ObjectiveOption = Annotated[
    str | None,
    named(
        "--objective",
        "WHAT",
        "What to make best: throughput, latency, ttft, tpot or cost; otherwise throughput.",
    ),
]
MaxTtftOption = Annotated[
    float | None,
    named("--max-ttft", "SECONDS", "Take only plans whose first token comes within this time."),
]
LosslessOption = Annotated[
    bool | None,
    typer.Option(
        "--lossless/--allow-lossy",
        help="Only plans whose tokens are those of a plain forward pass, which is the default; or also named systems that change tokens.",
        show_default=False,
    ),
]
HourOption = Annotated[
    float | None,
    named("--price-per-hour", "USD", "What an hour of the machine costs, for --objective cost."),
]
AmortizeOption = Annotated[
    float | None,
    named(
        "--amortize-hours",
        "HOURS",
        "Hours of use over which the machine file's price_usd is paid off: its price an hour.",
    ),
]
BoundsOption = Annotated[
    bool,
    typer.Option(
        "--no-bounds", help="Leave out the proven limits and what more of a resource would give."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalOptions(OptionGroup):
    """The options of the goal, as typed."""

    objective: ObjectiveOption = None
    max_ttft: MaxTtftOption = None
    lossless: LosslessOption = None
    price_per_hour: HourOption = None
    amortize_hours: AmortizeOption = None

    def words(self) -> Iterator[str]:
        """Yield the words of a command line that states the same goal."""
        pairs = (
            ("--objective", self.objective),
            ("--max-ttft", self.max_ttft),
            ("--price-per-hour", self.price_per_hour),
            ("--amortize-hours", self.amortize_hours),
        )
        for option, value in pairs:
            if value is not None:
                yield from (option, str(value))
        if self.lossless is not None:
            yield "--lossless" if self.lossless else "--allow-lossy"


def plan(
    *,
    options: ScenarioOptions,
    wanted: GoalOptions,
    no_bounds: BoundsOption = False,
    files: PlanFiles,
    asked: RuntimePlanOptions,
    said: OutputOptions,
) -> None:
    """Find the fastest way to run a model, freely or in a program."""
    files.check()
    if asked.runtime is None:
        asked.refuse_without("--runtime", "the program to plan for")
        _plan_policies(options, wanted, files, said, has_bounds=not no_bounds)
        return
    from rosin.commands.plan.runtime_command import check_options, plan_for_runtime

    _refuse_with_runtime(lossless=wanted.lossless, no_bounds=no_bounds)
    check_options(options)
    request = read_options(options)
    goal = _goal(request, wanted)
    output = said.with_seed(request.setting.seed)
    plan_for_runtime(
        options,
        asked,
        goal,
        files=files,
        output=output,
        best_policy=partial(planned_best, options, goal, output),
    )


def _refuse_with_runtime(*, lossless: bool | None, no_bounds: bool) -> None:
    """Raise InputError for an option that does not go with ``--runtime``."""
    from hwprofiles import InputError

    if lossless is not None:
        raise InputError("--lossless and --allow-lossy do not go with --runtime: no token changes")
    if no_bounds:
        raise InputError("--no-bounds does not go with --runtime, whose plans have none")


def _plan_policies(
    options: ScenarioOptions,
    wanted: GoalOptions,
    files: PlanFiles,
    said: OutputOptions,
    *,
    has_bounds: bool,
) -> None:
    """Find the best policy of any kind, write the plan, and print it."""
    from hwprofiles.text_file import write_bytes
    from planner.search.plan import save_plan
    from rosin.commands.plan.document import plan_result
    from rosin.commands.plan.figure import draw_plan
    from rosin.commands.plan.nearest import nearest_runtimes
    from rosin.commands.simulate.document import run_warnings
    from sim.step.provenance import provenance_of

    request = read_options(options, takes_offers=True)
    _check_request(request)
    output = said.with_seed(request.setting.seed)
    planned = _planned(request, _goal(request, wanted), output, has_bounds=has_bounds)
    best = planned.search.best
    if files.output_file is not None:
        save_plan(planned.plan, files.output_file)
    provenance = provenance_of(best)
    command = _command(
        options, [*wanted.words(), *([] if has_bounds else ["--no-bounds"])], files.output_file
    )
    with output.waiting("looking for the nearest runtime"):
        runtimes = nearest_runtimes(planned.plan, best.metrics)
    result = plan_result(
        planned, provenance, path=files.output_file, command=command, runtimes=runtimes
    )
    if files.figure is not None:
        with output.waiting("drawing"):
            write_bytes(draw_plan(best, result, files.figure.suffix), files.figure)
    warnings = [*_stopped(planned), *run_warnings(best, provenance)]
    output.emit(
        result.model_dump(mode="json"),
        _page(best, result),
        provenance=provenance.weakest,
        warnings=warnings,
    )


def planned_best(
    options: ScenarioOptions, goal: "Goal", output: Output, kv_type: str | None
) -> "Run":
    """Return the run of the best policy of any kind, without bounds.

    Raises NoFeasiblePlan if nothing fits.
    """
    # The policy is compared with a runtime's plan, so both store keys and values alike.
    request = read_options(replace(options, kv_type=kv_type))
    _check_request(request)
    return _planned(request, goal, output, has_bounds=False).search.best


def _page(best: "Run", result: "PlanResult") -> Iterator["RenderableType"]:
    """Yield the page that people read; the modules that print it are imported only then."""
    from rosin.commands.plan.nearest import nearest_lines
    from rosin.commands.plan.page import plan_page

    yield from plan_page(best, result)
    yield from nearest_lines(result)


def _goal(request: ScenarioRequest, wanted: GoalOptions) -> "Goal":
    """Return the named plan's goal, if any, with the values that the options replace.

    Raises InputError for an impossible number.
    """
    from hwprofiles import InputError
    from planner.search.objectives import Goal, hourly_price_usd

    goal = request.plan.goal if request.plan is not None else Goal(objective=DEFAULT_OBJECTIVE)
    numbers = {
        "--max-ttft": wanted.max_ttft,
        "--price-per-hour": wanted.price_per_hour,
        "--amortize-hours": wanted.amortize_hours,
    }
    for option, value in numbers.items():
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{option} must be above 0, got {value:g}")
    if wanted.price_per_hour is not None and wanted.amortize_hours is not None:
        raise InputError("--price-per-hour and --amortize-hours say the same in two ways; give one")
    price = wanted.price_per_hour
    if wanted.amortize_hours is not None:
        price = hourly_price_usd(request.setting.loaded_machine(), wanted.amortize_hours)
    given = {
        "objective": wanted.objective,
        "max_ttft_s": wanted.max_ttft,
        "is_lossless": wanted.lossless,
        "price_per_hour_usd": price,
    }
    goal = goal.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    goal.check()
    return goal


def _planned(
    request: ScenarioRequest, goal: "Goal", output: Output, *, has_bounds: bool
) -> "Planned":
    """Search for a plan and show the progress.

    Raises NoFeasiblePlan if nothing fits, or nothing keeps to the constraints.
    """
    from hwprofiles.units import format_duration
    from planner.search.search import Unmet
    from sim.costs.memory import Infeasible as NothingFits

    compile_first(request.engine, output)
    keep_memory()
    progress = SearchProgress(goal.objective, is_shown=output.is_watched)
    try:
        found = _found(request, goal, progress, has_bounds=has_bounds)
    finally:
        progress.close()
    if isinstance(found, NothingFits):
        from rosin.report.tables import shortfall

        raise NoFeasiblePlan(
            f"no feasible plan: no combination of parts fits, nearest is: {shortfall(found)}"
        )
    if isinstance(found, Unmet):
        reached = f"the best reaches {format_duration(found.best_ttft_s)} ({found.best_ttft_s:.6g} s), with {found.policy}"
        raise NoFeasiblePlan(f"no plan meets --max-ttft {found.max_ttft_s:g} s: {reached}")
    return found


def _found(
    request: ScenarioRequest, goal: "Goal", progress: SearchProgress, *, has_bounds: bool
) -> "Planned | Unmet | NothingFits":
    """Return the result of the search; after Ctrl-C, the best so far."""
    from planner.search.make import make_plan, planned
    from planner.search.search import Search, SearchStopped

    try:
        return make_plan(
            request.setting,
            goal,
            __version__,
            progress,
            engine=request.engine,
            has_bounds=has_bounds,
        )
    except SearchStopped as stop:
        best = stop.best_so_far()
    return (
        planned(request.setting, goal, __version__, best, has_bounds=has_bounds)
        if isinstance(best, Search)
        else best
    )


def _stopped(planned: "Planned") -> Iterator[str]:
    if planned.plan.is_stopped:
        draws = planned.search.num_draws
        yield f"the search was stopped: this is the best of what was tried until then, over {draws} draw{'s' if draws > 1 else ''}"


def _command(options: ScenarioOptions, words: Sequence[str], output_file: Path | None) -> str:
    """Return the command that runs the plan again, or, without a file, finds the plan again."""
    import shlex

    if output_file is None:
        return options.command("plan", *words)
    # A plan that imports parts needs the permission each time it is run.
    allowed = [word for module in options.allow_import or () for word in ("--allow-import", module)]
    return shlex.join(["rosin", "simulate", "--plan", str(output_file), *allowed])


def _check_request(request: ScenarioRequest) -> None:
    """Raise InputError, before any search, for a request that cannot be simulated or planned."""
    from hwprofiles import InputError, closest
    from planner.search.offers import offers_of

    for key in request.parameters:
        hint = closest(
            key.partition(".")[0],
            ("gpu", "cpu", "link", "host", "disk", "remote", "interference", "price_usd"),
        )
        raise InputError(
            f"--set {key}: plan chooses the parameters of policies itself; here --set changes numbers of the machine{hint}"
        )
    # Offers store weights in different ways, so each may need more memory than the others.
    for offer in offers_of(request.setting):
        question = replace(request, setting=offer).question()
        refuse_large_plan(question, request.setting.draws)
