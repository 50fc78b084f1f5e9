"""`rosin measure`: the computer at hand as a machine file."""

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.options import JsonOption, QuietOption, SeedOption
from rosin.cli.output import Output
from rosin.cli.stage_progress import StageProgress
from rosin.cli.torch_needed import require_torch
from rosin.version import __version__

if TYPE_CHECKING:
    from sim.model.model import Model
    from validation.measuring import Emulation, Findings

DEVICES = ("auto", "cuda", "cpu")
DEFAULT_MODELS = MappingProxyType(
    {"cuda": "mixtral-8x7b,qwen3-30b-a3b,deepseek-v2-lite", "cpu": "granite-3-1b-a400m,olmoe-1b-7b"}
)
"""Models whose shapes are measured, by device. One core runs its models in a reasonable time."""

FileOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="The machine file to write.", show_default=False
    ),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Fewer sizes and samples: under 90 seconds.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cuda|cpu",
        help="The accelerator: a GPU, or one of the CPU's cores that plays one.",
    ),
]
ModelsOption = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="A,B",
        help="Models whose shapes are measured; otherwise mixtral-8x7b, qwen3-30b-a3b and deepseek-v2-lite on a GPU, "
        "granite-3-1b-a400m and olmoe-1b-7b on a core.",
        show_default=False,
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="A,B",
        help="Formats that are measured: bf16 (the default), f16, f32; with --runtime those of GGUF files, "
        "otherwise q8_0,q4_k,bf16.",
        show_default=False,
    ),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="llama.cpp",
        help="Measure the kernels of this program by running it, and add them to the machine file.",
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
ThreadsOption = Annotated[
    int,
    typer.Option("--threads", min=1, metavar="N", help="CPU threads of the program (--runtime)."),
]
LinkOption = Annotated[
    str,
    typer.Option(
        "--link-bytes-per-s",
        metavar="RATE",
        help="Rate of the emulated link; a real one is measured as it is.",
    ),
]
MemoryOption = Annotated[
    str,
    typer.Option(
        "--accelerator-memory",
        metavar="BYTES",
        help="Memory of the emulated accelerator; a GPU's own is read.",
    ),
]


def measure(
    file: FileOption = None,
    quick: QuickOption = False,
    device: DeviceOption = "auto",
    models: ModelsOption = None,
    dtype: DtypeOption = None,
    runtime: RuntimeOption = None,
    binary: BinaryOption = None,
    threads: ThreadsOption = 1,
    link_rate: LinkOption = "2GB/s",
    accelerator_memory: MemoryOption = "4GiB",
    json: JsonOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Measure this computer and write it as a machine file."""
    from hwprofiles import unknown_name, write_yaml

    path = writable_machine_file(file)
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    output = Output(json=json, seed=seed, quiet=quiet)
    if runtime is not None:
        from rosin.commands.measure.runtime_command import RuntimeMeasure, measure_runtime

        asked = RuntimeMeasure(
            runtime=runtime,
            binary=binary,
            threads=threads,
            models=models,
            formats=dtype,
            is_quick=quick,
        )
        measure_runtime(asked, path, output)
        return
    rate = _amount("--link-bytes-per-s", link_rate)
    memory = _amount("--accelerator-memory", accelerator_memory)
    require_torch("measure runs operations")
    from rosin.commands.measure.document import measure_result, measure_warnings
    from rosin.commands.measure.page import measure_page
    from validation.measuring import Emulation, machine_data, with_stated_facts

    emulation = Emulation(link_bytes_per_s=rate, memory_bytes=memory)
    findings = _measured(
        models,
        tuple((dtype or "bf16").split(",")),
        device,
        emulation,
        "quick" if quick else "full",
        seed,
        output,
    )
    measured = machine_data(findings, path.stem, __version__)
    data = with_stated_facts(measured, has_gpu=findings.is_cuda)
    write_yaml(data, path)
    result = measure_result(findings, data, path)
    output.emit(
        result.model_dump(mode="json"), measure_page(result), warnings=measure_warnings(findings)
    )


def _measured(
    names: str | None,
    dtypes: tuple[str, ...],
    device: str,
    emulation: "Emulation",
    effort: str,
    seed: int,
    output: Output,
) -> "Findings":
    """What is found, with a line on the terminal that says how far it is."""
    from sim.model.library import load_model
    from validation.measuring import EFFORTS, Subject, check_dtypes, choose_device, measure

    check_dtypes(dtypes)
    chosen = choose_device(device)
    # The models that are measured by default depend on the device, so the device is chosen first.
    models: list[Model] = [
        load_model(name) for name in (names or DEFAULT_MODELS[chosen]).split(",")
    ]
    progress = StageProgress(is_shown=output.is_watched)
    try:
        return measure(
            models,
            Subject(device=chosen, dtypes=dtypes, emulation=emulation),
            effort=EFFORTS[effort],
            seed=seed,
            on_stage=progress,
        )
    # Taken away where measuring fails, too: the error then stands on a line of its own.
    finally:
        progress.close()


def _amount(option: str, text: str) -> float:
    from hwprofiles import InputError
    from hwprofiles.units import parse_number

    try:
        value = parse_number(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if not 0 < value < float("inf"):
        raise InputError(f"{option} {text}: write an amount above 0, for example 2GB")
    return value


def writable_machine_file(path: Path | None) -> Path:
    """Where the file goes, known to be writable before anything is measured. Raises InputError."""
    from hwprofiles import InputError
    from hwprofiles.text_file import check_target

    if path is None:
        raise InputError("missing option '-o'; name the machine file to write")
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"-o {path}: a machine file ends in .yaml")
    check_target(path)
    return path
