"""`rosin measure`: this computer, measured and written as a machine file."""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.named_option import written
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output
from rosin.cli.sizes import read_size
from rosin.cli.stage_progress import StageProgress
from rosin.cli.torch_needed import loading_torch, require_torch
from rosin.commands.measure.runtime_command import RuntimeMeasure, measure_runtime
from rosin.commands.measure.subject_options import SubjectOptions
from rosin.version import __version__

if TYPE_CHECKING:
    from sim.model.model import Model
    from validation.measuring import Emulation, Findings

DEVICES = ("auto", "cuda", "cpu")
DEFAULT_MODELS = MappingProxyType(
    {"cuda": "mixtral-8x7b,qwen3-30b-a3b,deepseek-v2-lite", "cpu": "granite-3-1b-a400m,olmoe-1b-7b"}
)
"""Models whose shapes are measured, by device; a core runs its models in reasonable time."""

FileOption = Annotated[Path | None, written("FILE", "The machine file to write.")]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulationOptions(OptionGroup):
    """The stated link and memory of an emulated accelerator, as typed."""

    link_rate: LinkOption = "2GB/s"
    accelerator_memory: MemoryOption = "4GiB"

    def read(self) -> "Emulation":
        """Return the emulated accelerator in numbers.

        Raises InputError for a wrong size or without torch.
        """
        rate = read_size("--link-bytes-per-s", self.link_rate, least=1)
        memory = read_size("--accelerator-memory", self.accelerator_memory, least=1)
        require_torch("measure runs operations")
        from validation.measuring import Emulation

        return Emulation(link_bytes_per_s=rate, memory_bytes=memory)


def measure(
    *,
    file: FileOption = None,
    subject: SubjectOptions,
    program: RuntimeMeasure,
    emulated: EmulationOptions,
    output: Output,
) -> None:
    """Measure this computer and write it as a machine file."""
    from hwprofiles import unknown_name, write_yaml

    path = writable_machine_file(file)
    if subject.device not in DEVICES:
        raise unknown_name("device", subject.device, DEVICES)
    if program.runtime is not None:
        measure_runtime(subject, program, path, output)
        return
    with loading_torch(output):
        emulation = emulated.read()
        # These modules import torch, so they come after the check that it is there.
        from rosin.commands.measure.document import measure_result, measure_warnings
        from rosin.commands.measure.page import measure_page
        from validation.measuring import machine_data, with_stated_facts

    findings = _measured(subject, emulation, output)
    measured = machine_data(findings, path.stem, __version__)
    data = with_stated_facts(measured, has_gpu=findings.is_cuda)
    write_yaml(data, path)
    result = measure_result(findings, data, path)
    output.emit(
        result.model_dump(mode="json"), measure_page(result), warnings=measure_warnings(findings)
    )


def _measured(subject: SubjectOptions, emulation: "Emulation", output: Output) -> "Findings":
    """Measure this computer, with the progress on the terminal, and return the findings."""
    from sim.model.library import load_model
    from validation.measuring import EFFORTS, Subject, check_dtypes, choose_device, measure

    dtypes = tuple((subject.dtype or "bf16").split(","))
    check_dtypes(dtypes)
    # Asking for a GPU loads CUDA, which may take seconds, so the line is there before.
    progress = StageProgress(is_shown=output.is_watched)
    try:
        chosen = choose_device(subject.device)
        # The models that are measured by default depend on the device, so it is chosen first.
        models: list[Model] = [
            load_model(name) for name in (subject.models or DEFAULT_MODELS[chosen]).split(",")
        ]
        return measure(
            models,
            Subject(device=chosen, dtypes=dtypes, emulation=emulation),
            effort=EFFORTS["quick" if subject.quick else "full"],
            seed=output.seed,
            on_stage=progress,
        )
    # Taken away where measuring fails, too: the error then stands on a line of its own.
    finally:
        progress.close()


def writable_machine_file(path: Path | None) -> Path:
    """Return the path of the machine file, checked to be writable before anything is measured.

    Raises InputError for a missing path, another ending, or a file that cannot be written.
    """
    from hwprofiles import InputError
    from hwprofiles.text_file import check_target

    if path is None:
        raise InputError("missing option '-o'; name the machine file to write")
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"-o {path}: a machine file ends in .yaml")
    check_target(path)
    return path
