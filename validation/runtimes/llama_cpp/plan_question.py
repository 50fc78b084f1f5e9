"""The runs for a plan: arguments from its file or as typed, a GGUF file, and rivals."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hwprofiles import InputError, read_yaml, validated
from hwprofiles.input_file import is_file
from sim.model.library import load_model
from sim.model.model import TensorClass
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP, LlamaArguments, read_llama_arguments
from sim.runtimes.llama_cpp.overrides import CpuExperts
from validation.runtimes.llama_cpp.random_file import WeightFormats, write_random_gguf
from validation.runtimes.llama_cpp.shapes import small_shape

PLAN = "the plan"


class _Section(BaseModel):
    """A part of a plan file; only the keys that are needed are read."""

    # Other keys are the planner's, which checks them where it reads them.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Call(_Section):
    name: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class _Setting(_Section):
    model: str
    machine: str
    quantization: str | None = None
    machine_overrides: tuple[str, ...] = ()


class _PlanFile(_Section):
    format: str
    setting: _Setting
    runtime: _Call | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanQuestion:
    """A plan's model and machine by name, and the arguments of the runtime as one line."""

    model: str
    quantization: str | None
    machine: str
    machine_overrides: tuple[str, ...]
    line: str

    @property
    def arguments(self) -> LlamaArguments:
        """The arguments as llama.cpp reads them. Raises InputError for arguments that it
        refuses.
        """
        return read_llama_arguments(self.line, LLAMA_CPP)


def read_question(path: Path, runtime: str, line: str | None) -> PlanQuestion:
    """Read the question of a plan file. ``line`` replaces the arguments in it.

    Raises InputError for a file that is no plan, that is for another runtime, or that has no
    arguments if none are typed.
    """
    data: Mapping[str, Any] = read_yaml(path, "plan")
    file = validated(_PlanFile, data, path)
    if line is None:
        line = _line(path, file, runtime)
    return PlanQuestion(
        model=_near(file.setting.model, path),
        quantization=file.setting.quantization,
        machine=_near(file.setting.machine, path),
        machine_overrides=file.setting.machine_overrides,
        line=line,
    )


def _near(name: str, path: Path) -> str:
    """Return a path relative to the plan's folder as a path from here; other names are
    unchanged.
    """
    beside = path.parent / name
    return str(beside) if is_file(beside) else name


def _line(path: Path, file: _PlanFile, runtime: str) -> str:
    import shlex

    if file.runtime is None:
        raise InputError(
            f"{path} has no runtime section; plan with `runtime` {runtime}, or state `runtime_args`"
        )
    if file.runtime.name != runtime:
        raise InputError(f"{path} is a plan for {file.runtime.name}, not for {runtime}")
    variables = [f"{name}={value}" for name, value in file.runtime.environment.items()]
    return shlex.join([*variables, *file.runtime.arguments])


def model_file(question: PlanQuestion, stated: Path | None, folder: Path, seed: int) -> Path:
    """Return the file that is run: the stated one, or a small one with random weights.

    The small file has the model's shape and its experts' format. Raises InputError for a file that
    is not there, or a model of which no small file is written.
    """
    if stated is not None:
        if not is_file(stated):
            raise InputError(f"`model_file` {stated}: no such file")
        return stated
    model = load_model(question.model, question.quantization)
    formats = WeightFormats(experts=model.dtypes[TensorClass.EXPERT])
    return write_random_gguf(
        small_shape(model), formats, folder / f"{model.name}-small.gguf", seed=seed
    )


def rivals_of(
    arguments: LlamaArguments, num_layers: int, num_devices: int
) -> dict[str, LlamaArguments]:
    """Return the plan, and other placements that the same program can express, by name.

    With devices these are all layers on them and the experts of a growing number of layers on the
    host. Without devices nothing can be placed elsewhere. Then kernels differ: plain ones, and
    smaller batches of a prompt.
    """
    found = {PLAN: arguments}
    if num_devices:
        whole = replace(arguments, gpu_layers=num_layers + 1, placements=(), is_fitted=False)
        # Five placements from all experts on devices to none show where the best lies.
        for quarters in range(5):
            count = num_layers * quarters // 4
            own = (CpuExperts(num_layers=count),) if count else ()
            found[f"-ngl 99 -ncmoe {count}"] = replace(whole, placements=own)
        found["-ngl 0"] = replace(whole, gpu_layers=0)
        return found
    found["--no-repack"] = replace(arguments, is_repacked=False)
    found["-ub 64"] = replace(arguments, micro_batch_tokens=64)
    return found
