"""`rosin measure --runtime`: the kernels of a runtime, measured and fitted as laws."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output
from rosin.cli.stage_progress import StageProgress
from rosin.commands.measure.subject_options import SubjectOptions
from rosin.version import __version__

if TYPE_CHECKING:
    from hwprofiles import Machine
    from validation.runtimes.llama_cpp import Measured

RUNTIMES = ("llama.cpp",)
DEFAULT_MODELS = "granite-3-1b-a400m,olmoe-1b-7b,qwen3-30b-a3b"
"""Models whose shapes are measured, cut down to small files. Three tell laws from noise."""

DEFAULT_FORMATS = "q8_0,q4_k,bf16"
QUICK_ROUNDS = 3


RuntimeOption = Annotated[
    str | None,
    named(
        "--runtime",
        "llama.cpp",
        "Measure the kernels of this program by running it, and add them to the machine file.",
    ),
]
BinaryOption = Annotated[
    Path | None,
    named(
        "--binary",
        "PATH",
        "llama-bench, or its folder; otherwise as found, else the wheel xllamacpp.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        metavar="N",
        help="CPU threads of the program (--runtime); otherwise one a core, as plans have.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeMeasure(OptionGroup):
    """The runtime and how it is run, as typed."""

    runtime: RuntimeOption = None
    binary: BinaryOption = None
    threads: ThreadsOption = None


def measure_runtime(
    subject: SubjectOptions, asked: RuntimeMeasure, path: Path, output: Output
) -> None:
    """Measure the kernels and write their laws into the machine file.

    If the file does not exist, it is made from what the system says of this computer. Raises
    InputError for wrong input.
    """
    from hwprofiles import machine_data, unknown_name, write_yaml
    from rosin.commands.measure.runtime_document import runtime_measure_result
    from rosin.commands.measure.runtime_page import runtime_measure_page
    from validation.runtimes.llama_cpp import fit_laws, runtime_kernels, with_kernels

    assert asked.runtime is not None
    if asked.runtime not in RUNTIMES:
        raise unknown_name("runtime that is measured", asked.runtime, RUNTIMES)
    machine = _machine(path)
    measured = _measured(subject, asked, threads_of(asked, machine), output)
    laws = fit_laws(measured.points)
    kernels = runtime_kernels(measured, laws, __version__)
    data = machine_data(with_kernels(machine, kernels))
    write_yaml(data, path)
    result = runtime_measure_result(measured, kernels, laws, path)
    output.emit(
        result.model_dump(mode="json"),
        runtime_measure_page(result),
        warnings=machine.assumptions,
    )


def _machine(path: Path) -> "Machine":
    from hwprofiles import load_machine
    from hwprofiles.parts import detected_machine

    if path.exists():
        return load_machine(str(path))
    return detected_machine().model_copy(update={"name": path.stem})


def threads_of(asked: RuntimeMeasure, machine: "Machine") -> int:
    """Return the number of threads asked for, or else of a plan for that machine.

    A plan's number is limited to the threads that this computer can run.
    """
    from sim.runtimes import runtime_host
    from validation.runtimes.llama_cpp.plan_run import threads_here

    return asked.threads or threads_here(runtime_host(machine))


def _measured(
    subject: SubjectOptions, asked: RuntimeMeasure, threads: int, output: Output
) -> "Measured":
    """Run the small files, with the progress on the terminal, and return the measurements."""
    from sim.model.library import load_model
    from validation.runtimes.llama_cpp import (
        EFFORT,
        cases_of,
        measure_points,
        session_opener,
        small_shape,
        with_other_top_k,
    )

    opener = session_opener(asked.binary)
    names = (subject.models or DEFAULT_MODELS).split(",")
    shapes = [small_shape(load_model(name)) for name in names]
    own = cases_of(shapes, (subject.dtype or DEFAULT_FORMATS).split(","))
    cases = tuple(dict.fromkeys((*own, *map(with_other_top_k, own))))
    progress = StageProgress(is_shown=output.is_watched)
    effort = replace(EFFORT, rounds=QUICK_ROUNDS) if subject.quick else EFFORT
    try:
        # The files hold random weights, so nobody needs them afterwards.
        with tempfile.TemporaryDirectory(prefix="rosin-") as folder:
            return measure_points(
                cases,
                opener,
                Path(folder),
                threads=threads,
                effort=effort,
                on_stage=progress,
            )
    finally:
        progress.close()
