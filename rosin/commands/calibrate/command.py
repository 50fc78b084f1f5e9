"""`rosin calibrate`: a measured machine, corrected by a few runs of plans."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rosin.cli.option_groups import OptionGroup
from rosin.cli.options import AllowImportOption, MachineOption, ScenarioSeedOption
from rosin.cli.output import OutputOptions
from rosin.cli.scenario import read_plan
from rosin.cli.torch_needed import loading_torch, require_torch
from rosin.commands.measure.command import DEVICES, FileOption, writable_machine_file
from rosin.commands.validate.command import with_seed
from rosin.version import __version__

PlansArgument = Annotated[list[Path], typer.Argument(metavar="PLAN...", help="Plan files to run.")]
TierOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cuda|cpu",
        help="What runs them: a GPU, or the core that the machine file has as one.",
    ),
]
CalibrationRoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, metavar="N", help="Runs of every plan, in turn.")
]

NOTICE = "each plan is run for real, which may take minutes; --rounds 1 is shortest"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRuns(OptionGroup):
    """The options that say how the plans are run, as typed."""

    device: TierOption = "auto"
    rounds: CalibrationRoundsOption = 5
    allow_import: AllowImportOption = None
    seed: ScenarioSeedOption = None


def calibrate(
    *,
    plans: PlansArgument,
    machine: MachineOption = None,
    file: FileOption = None,
    runs: CalibrationRuns,
    said: OutputOptions,
) -> None:
    """Run plans and fit a machine file to what they took."""
    from hwprofiles import InputError, load_machine, unknown_name, write_yaml

    if machine is None:
        raise InputError(
            "missing option '--machine'; name the machine file that rosin measure wrote"
        )
    if runs.device not in DEVICES:
        raise unknown_name("device", runs.device, DEVICES)
    path = writable_machine_file(file)
    own = load_machine(machine)
    names = [plan.name for plan in plans]
    loaded = [
        (
            # Plans of several folders may share a file name; the whole path then tells them apart.
            plan.name if names.count(plan.name) == 1 else str(plan),
            with_seed(read_plan(plan, runs.allow_import or ()), runs.seed),
        )
        for plan in plans
    ]
    require_torch("calibrate runs plans")
    output = said.with_seed(loaded[0][1].setting.seed)
    # These modules import torch, so they come after the check that it is there.
    with loading_torch(output):
        from rosin.commands.calibrate.document import calibrate_result, calibrate_warnings
        from rosin.commands.calibrate.page import calibrate_page
        from validation.calibrating import calibrate as calibrated
        from validation.comparison.tiers import real_tier

        # Asking for a GPU loads CUDA, which may take seconds, too.
        tier = real_tier(runs.device, own)
    output.note(NOTICE)
    # One step more than there are runs: the fit follows the last of them.
    with output.waiting("running the first plan", len(loaded) * runs.rounds + 1) as waiting:
        found = calibrated(
            loaded,
            # A machine in a file has the name of the file.
            own.model_copy(update={"name": path.stem}),
            version=__version__,
            device=runs.device,
            num_rounds=runs.rounds,
            on_run=lambda plan: waiting.step(f"ran {plan}"),
        )
    write_yaml(found.data, path)
    result = calibrate_result(found, tier.value, path)
    output.emit(
        result.model_dump(mode="json"), calibrate_page(result), warnings=calibrate_warnings(found)
    )
