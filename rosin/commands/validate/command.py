"""`rosin validate`: a plan run for real beside its prediction."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.options import AllowImportOption, JsonOption, QuietOption, ScenarioSeedOption
from rosin.cli.output import Output
from rosin.cli.scenario import read_plan
from rosin.cli.torch_needed import require_torch

if TYPE_CHECKING:
    from planner.search.plan import Plan
    from rosin.report.checking_documents import ValidateResult
    from sim.workload.batch import Batch
    from validation.comparison import PlanValidation

DEVICES = ("auto", "cuda", "cpu", "paced")
QUICK_PROMPT_TOKENS = 16
QUICK_OUTPUT_TOKENS = 4
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cuda|cpu|paced",
        help="What runs it: paced is small tensors slept out to the machine file's times; cpu needs a machine that rosin measure wrote.",
    ),
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, metavar="N", help="Runs of every plan.")
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="One round of a short prompt and answer.")
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="llama.cpp",
        help="Run the plan with this program, not with torch.",
        show_default=False,
    ),
]
RuntimeArgsOption = Annotated[
    str | None,
    typer.Option(
        "--runtime-args",
        metavar="ARGS",
        help="Its arguments, in quotes; otherwise those of the plan file.",
        show_default=False,
    ),
]
BinaryOption = Annotated[
    Path | None,
    typer.Option(
        "--binary",
        metavar="PATH",
        help="llama-bench, or its folder; otherwise as found, else the wheel xllamacpp.",
        show_default=False,
    ),
]
ModelFileOption = Annotated[
    Path | None,
    typer.Option(
        "--model-file",
        metavar="X.gguf",
        help="Run this file; otherwise a small one with random weights.",
        show_default=False,
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="DIR",
        help="Run this Hugging Face checkpoint, not random weights.",
        show_default=False,
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="Write the result, a figure and the two timelines here.",
        show_default=False,
    ),
]

NOTICE = "each policy is run for real, which may take minutes; --quick runs fewer tokens once"


def validate(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file.")],
    device: DeviceOption = "auto",
    rounds: RoundsOption = 5,
    quick: QuickOption = False,
    weights: WeightsOption = None,
    runtime: RuntimeOption = None,
    runtime_args: RuntimeArgsOption = None,
    binary: BinaryOption = None,
    model_file: ModelFileOption = None,
    folder: FolderOption = None,
    allow_import: AllowImportOption = None,
    json: JsonOption = None,
    seed: ScenarioSeedOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run a plan and set measured beside predicted."""
    from hwprofiles.text_file import check_folder

    _check_device(device)
    if folder is not None:
        check_folder(folder)
    if runtime is not None:
        from rosin.commands.validate.runtime_command import RuntimeValidation, validate_runtime

        asked = RuntimeValidation(
            plan=plan,
            runtime=runtime,
            arguments=runtime_args,
            binary=binary,
            model_file=model_file,
            rounds=1 if quick else rounds,
            seed=seed or 0,
            folder=folder,
        )
        validate_runtime(asked, Output(json=json, seed=seed or 0, quiet=quiet))
        return
    _check_runtime_options(
        {"--runtime-args": runtime_args, "--binary": binary, "--model-file": model_file}
    )
    loaded = with_seed(read_plan(plan, allow_import or ()), seed)
    require_torch("validate runs the plan")
    from rosin.commands.validate.document import validate_result, validate_warnings
    from rosin.commands.validate.page import validate_page
    from validation.comparison import validate_plan

    output = Output(json=json, seed=loaded.setting.seed, quiet=quiet)
    batch = _quick_batch(loaded) if quick else None
    num_rounds = 1 if quick else rounds
    output.note(NOTICE)
    with output.waiting("making weights and measuring") as waiting:
        validation = validate_plan(
            loaded,
            num_rounds,
            batch=batch,
            device=device,
            checkpoint=weights,
            on_run=lambda name: waiting.step(f"ran {name}; going on"),
        )
    result = validate_result(validation)
    if folder is not None:
        _write(validation, result, folder)
    output.emit(
        result.model_dump(mode="json"),
        validate_page(result),
        warnings=validate_warnings(validation),
    )


def _check_device(device: str) -> None:
    """Raises InputError for a device that is not known."""
    from hwprofiles import unknown_name

    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)


def _check_runtime_options(stated: dict[str, object]) -> None:
    """Raises InputError for an option of runtimes without --runtime."""
    from hwprofiles import InputError

    name = next((name for name, value in stated.items() if value is not None), None)
    if name is not None:
        raise InputError(f"{name} needs --runtime, which names the program to run")


def _write(validation: "PlanValidation", result: "ValidateResult", folder: Path) -> None:
    """The result, a figure, and the timelines of one more run. Raises InputError where the folder
    cannot be made.
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
    """The plan with another seed, which draws weights and prompts; its own where none is given."""
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
    prompt = min(batch.prompt_tokens, QUICK_PROMPT_TOKENS)
    answer = min(batch.output_tokens, QUICK_OUTPUT_TOKENS)
    return replace(batch, prompt_tokens=prompt, output_tokens=answer)
