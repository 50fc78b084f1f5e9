"""`rosin whatif`: the best plans if numbers of the machine or of the work were others."""

from collections.abc import Iterator
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
    read_options,
)
from rosin.commands.whatif.sweeping import PLANS_WITH, STUDY_FILE, Swept, Workers, swept_study
from rosin.version import __version__

if TYPE_CHECKING:
    from planner.study.prices import HardwarePrices
    from planner.study.study import Study
    from rosin.commands.whatif.rows import StudyRows

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
PricesOption = Annotated[
    Path | None,
    named("--prices", "FILE", "Prices of the values that vary (.yaml); draws price against speed."),
]
FolderOption = Annotated[
    Path | None,
    written("DIR", "Keep the study, its table and figures in this folder; again, to go on."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions(OptionGroup):
    """The axes and the objective of a study, as typed."""

    vary: VaryOption = None
    objective: StudyObjectiveOption = None
    tornado: TornadoOption = False
    no_bounds: NoBoundsOption = False

    def words(self) -> Iterator[str]:
        """Yield the words of a command line that states the same study."""
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
    computing: Workers,
    prices: PricesOption = None,
    output_folder: FolderOption = None,
    said: OutputOptions,
) -> None:
    """Plan anew at every point of a study, and show what changes."""
    from planner.study.prices import NO_PRICES, load_prices

    study, request = _study(options, asked)
    _check_size(study, request, computing)
    costs = load_prices(prices, study.axes) if prices is not None else NO_PRICES
    folder = _folder(output_folder)
    output = said.with_seed(study.base.seed)
    priced = () if prices is None else ("--prices", str(prices))
    command = options.command("whatif", *asked.words(), *priced, "-o", str(folder))
    with swept_study(study, folder, computing, output, has_tornado=asked.tornado) as swept:
        _report(study, swept, costs, folder, command=command, output=output)


def _study(options: ScenarioOptions, asked: StudyOptions) -> tuple["Study", ScenarioRequest]:
    """Return the study, checked at every point. Raises InputError for a wrong study."""
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
    if request.engine != PLANS_WITH:
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


def _check_size(study: "Study", request: ScenarioRequest, workers: "Workers") -> None:
    """Raise InputError for points that need more memory than is free while they are planned.

    Only the largest point of each model is checked.
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


def _report(
    study: "Study",
    swept: Swept,
    costs: "HardwarePrices",
    folder: Path,
    *,
    command: str,
    output: Output,
) -> None:
    """Write the table and the figures, then print the results.

    Raises NoFeasiblePlan if nothing fits at any point.
    """
    from hwprofiles import weakest
    from rosin.commands.whatif.files import write_files
    from rosin.commands.whatif.page import whatif_page
    from rosin.commands.whatif.result import whatif_result
    from rosin.commands.whatif.rows import StudyRows

    with output.waiting("writing the table and the figures"):
        rows = StudyRows(study, swept.outcomes_at, costs)
        result = whatif_result(
            study, rows, swept.tornado, command=command, num_computed=swept.num_computed
        )
        files, warnings = write_files(result, folder)
    # A pager may keep what is printed waiting for hours; nothing more is written to the folder.
    swept.let_go()
    result = result.model_copy(
        update={"files": [str(file) for file in (folder / STUDY_FILE, *files)]}
    )
    output.emit(
        result.data(),
        whatif_page(result),
        provenance=weakest(rows.weakest) if rows.weakest else None,
        warnings=warnings,
    )
    # Raised last: the folder then says for every point how much is missing.
    if not any(mark.is_feasible for mark in rows.marks):
        raise _nothing_fits(rows, folder)


def _nothing_fits(rows: "StudyRows", folder: Path) -> NoFeasiblePlan:
    from hwprofiles.units import format_bytes

    nearest = rows[min(rows.marks, key=lambda mark: mark.missing_bytes or 0).place]
    shortage = f"{nearest.reason}; {format_bytes(nearest.missing_bytes or 0)} too much"
    return NoFeasiblePlan(
        f"no feasible plan at any of {len(rows):,} points (see {folder}), nearest is: {shortage}"
    )
