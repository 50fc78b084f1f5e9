"""`rosin plan`: the fastest way to run one model on one machine, as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.failures import Infeasible
from rosin.cli.options import JsonOption, QuietOption
from rosin.cli.output import Output
from rosin.cli.progress import SearchProgress
from rosin.cli.scenario import Request, ScenarioOptions, announce_compilation, read_options, takes_scenario
from rosin.version import __version__

if TYPE_CHECKING:
    from planner.make import Planned

DEFAULT_OBJECTIVE = "throughput"
NOTICE = "compiling simulator and bounds, once (about half a minute)…"
"""Before the first plan on a computer; every kernel is needed, not the flat ones alone."""
ObjectiveOption = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="WHAT",
        help="What to make best: throughput, latency, ttft, tpot or cost; otherwise throughput.",
        show_default=False,
    ),
]
PlanFileOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the plan here (.yaml).", show_default=False)
]


@takes_scenario
def plan(
    options: ScenarioOptions,
    objective: ObjectiveOption = None,
    output_file: PlanFileOption = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Find the fastest way to run a model on a machine."""
    from planner.plan import save_plan
    from rosin.report.plan_result import plan_result
    from rosin.report.plan_tables import plan_page
    from rosin.report.run_result import run_warnings
    from sim.provenance import provenance_of

    _check_target(output_file)
    request = read_options(options)
    _check_request(request)
    output = Output(json=json, seed=request.setting.seed, quiet=quiet)
    planned = _planned(request, objective, output)
    best = planned.search.best
    if output_file is not None:
        save_plan(planned.plan, output_file)
    provenance = provenance_of(best)
    result = plan_result(planned, provenance, path=output_file, command=_command(options, output_file))
    page, warnings = plan_page(best, result), run_warnings(best, provenance)
    output.emit(result.model_dump(mode="json"), page, provenance=provenance.weakest, warnings=warnings)


def _planned(request: Request, objective: str | None, output: Output) -> "Planned":
    """The search, with its progress shown. Raises Infeasible, with the smallest shortage, when nothing at all fits."""
    from planner.candidates import candidates, named_systems
    from planner.make import make_plan
    from rosin.report.tables import shortfall
    from sim.memory import Infeasible as Misfit

    wanted = objective or (request.plan.objective if request.plan is not None else DEFAULT_OBJECTIVE)
    total = sum(1 for policies in (candidates(), named_systems()) for _ in policies)
    announce_compilation(request.engine, output, NOTICE)
    progress = SearchProgress(wanted, total, is_shown=output.is_watched)
    try:
        found = make_plan(request.setting, wanted, __version__, progress, engine=request.engine)
    finally:
        progress.close()
    if isinstance(found, Misfit):
        raise Infeasible(f"no feasible plan: none of {total} combinations fits, nearest is: {shortfall(found)}")
    return found


def _command(options: ScenarioOptions, output_file: Path | None) -> str:
    """What runs the plan again; without a file, what finds it again."""
    import shlex

    return options.command("plan") if output_file is None else shlex.join(["rosin", "simulate", "--plan", str(output_file)])


def _check_request(request: Request) -> None:
    """Refuse, before any search, what cannot be simulated or planned. Raises InputError."""
    from hwprofiles import InputError, closest
    from planner.make import ANY_POLICY
    from sim.policies import find_policy

    for key in request.parameters:
        hint = closest(key.partition(".")[0], ("gpu", "cpu", "link", "host", "disk", "remote", "interference", "price_usd"))
        raise InputError(f"--set {key}: plan chooses the parameters of policies itself; here --set changes numbers of the machine{hint}")
    request.scenarios([find_policy(ANY_POLICY)])


def _check_target(path: Path | None) -> None:
    """Refuse, before any search, a file whose folder does not exist. Raises InputError."""
    from hwprofiles import InputError

    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(f"cannot write {path}: {'it is a folder' if path.is_dir() else f'no folder {path.parent}'}")
