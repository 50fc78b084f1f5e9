"""`rosin validate`: a plan that is run on this computer, beside its prediction."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import written
from rosin.cli.output import OutputOptions
from rosin.cli.scenario import read_plan
from rosin.cli.torch_needed import loading_torch, require_torch
from rosin.commands.validate.run_options import RunOptions, RuntimeRun

if TYPE_CHECKING:
    from planner.search.plan import Plan
    from rosin.report.checking_documents import ValidateResult
    from sim.workload.batch import Batch
    from validation.comparison import PlanValidation

DEVICES = ("auto", "cuda", "cpu", "paced")
QUICK_PROMPT_TOKENS = 16
QUICK_OUTPUT_TOKENS = 4
FolderOption = Annotated[
    Path | None, written("DIR", "Write the result, a figure and the two timelines here.")
]

NOTICE = "each policy is run for real, which may take minutes; --quick runs fewer tokens once"


def validate(
    *,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")],
    runs: RunOptions,
    asked: RuntimeRun,
    folder: FolderOption = None,
    said: OutputOptions,
) -> None:
    """Run a plan and set measured beside predicted."""
    from hwprofiles.text_file import check_folder

    _check_device(runs.device)
    if folder is not None:
        check_folder(folder)
    if asked.runtime is not None:
        from rosin.commands.validate.runtime_command import validate_runtime

        validate_runtime(plan, runs, asked, folder, said.with_seed(runs.seed or 0))
        return
    asked.refuse_without("--runtime", "the program to run")
    loaded = with_seed(read_plan(plan, runs.allow_import or ()), runs.seed)
    require_torch("validate runs the plan")
    output = said.with_seed(loaded.setting.seed)
    # These import torch, so what is wrong with the plan shows before they are needed.
    with loading_torch(output):
        from rosin.commands.validate.document import validate_result, validate_warnings
        from rosin.commands.validate.page import validate_page
        from validation.comparison import validate_plan

    batch = _quick_batch(loaded) if runs.quick else None
    output.note(NOTICE)
    with output.waiting("making weights and measuring") as waiting:
        validation = validate_plan(
            loaded,
            runs.num_rounds,
            batch=batch,
            device=runs.device,
            checkpoint=runs.weights,
            on_run=lambda name: waiting.step(f"ran {name}; going on"),
        )
    result = validate_result(validation)
    if folder is not None:
        with output.waiting("running it once more for its timelines"):
            _write(validation, result, folder)
    output.emit(
        result.model_dump(mode="json"),
        validate_page(result),
        warnings=validate_warnings(validation),
    )


def _check_device(device: str) -> None:
    """Raise InputError for a device that is not known."""
    from hwprofiles import unknown_name

    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)


def _write(validation: "PlanValidation", result: "ValidateResult", folder: Path) -> None:
    """Write the result, a figure, and the timelines of one more run.

    Raises InputError if the folder cannot be made.
    """
    from hwprofiles.text_file import make_folder, write_bytes
    from rosin.cli.json_output import write_json
    from rosin.commands.validate.figure import draw
    from sim.engine.trace import write_trace
    from validation.comparison import run_again

    predicted, measured = run_again(validation)
    make_folder(folder)
    write_json(result.model_dump(mode="json"), str(folder / "validate.json"))
    write_trace(predicted, folder / "predicted.trace.json")
    write_trace(measured, folder / "measured.trace.json")
    for suffix in (".png", ".svg"):
        write_bytes(draw(result, predicted, measured, suffix), folder / f"validate{suffix}")


def with_seed(plan: "Plan", seed: int | None) -> "Plan":
    """Return the plan with another seed for weights and prompts; None keeps the plan's own seed."""
    from dataclasses import replace

    return (
        plan
        if seed is None
        else replace(plan, setting=plan.setting.model_copy(update={"seed": seed}))
    )


def _quick_batch(plan: "Plan") -> "Batch":
    """The plan's batch, cut short."""
    from dataclasses import replace

    batch = plan.setting.batch
    # A plan shorter than a quick run stays as short as it is.
    prompt = min(batch.prompt_tokens, QUICK_PROMPT_TOKENS)
    answer = min(batch.output_tokens, QUICK_OUTPUT_TOKENS)
    return replace(batch, prompt_tokens=prompt, output_tokens=answer)
