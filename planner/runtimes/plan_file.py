"""A plan for a runtime as a file: the setting, and the arguments that start the runtime."""

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from hwprofiles import InputError, read_yaml, unknown_name, validated, write_yaml
from hwprofiles.file_part import FilePart
from hwprofiles.input_file import is_there
from planner.export.runtimes import WRITERS
from planner.runtimes.load import MOST_ROUNDS, RuntimeLimits, RuntimeLoad
from planner.runtimes.option import Option
from planner.search.objectives import Goal
from planner.search.setting import Setting, from_folder, to_folder

PLAN_FORMAT: Literal["rosin-plan/1"] = "rosin-plan/1"
Word = Annotated[str, Field(min_length=1, max_length=100_000)]


class RuntimeCall(FilePart):
    """A runtime, its arguments one word each, and variables of its environment."""

    name: Word
    arguments: tuple[Word, ...]
    environment: dict[str, str] = Field(default={})

    @property
    def line(self) -> str:
        """The line that a reader of the runtime's arguments takes."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join([*variables, *self.arguments])


def call_of(option: Option) -> RuntimeCall:
    """Return the call that starts the option's runtime."""
    writer = WRITERS[option.question.runtime]
    return RuntimeCall(
        name=option.question.runtime,
        arguments=writer.words(option.arguments),
        environment=dict(writer.environment(option.arguments)),
    )


class RuntimePlanFile(FilePart):
    """A plan file whose ``runtime`` section says what to start; it names no policy.

    ``predicted`` holds both speeds with their ranges, the times of a round, and memory by device.
    """

    format: Literal["rosin-plan/1"] = PLAN_FORMAT
    version: str
    setting: Setting
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 1
    room_tokens: int | None = None
    limits: RuntimeLimits = RuntimeLimits()
    objective: str
    constraints: dict[str, Any] = Field(default={})
    runtime: RuntimeCall
    predicted: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def load(self) -> RuntimeLoad:
        """The load that the plan was made for."""
        return RuntimeLoad(
            prompt_tokens=self.setting.prompt_tokens,
            output_tokens=self.setting.output_tokens,
            rounds=self.rounds,
            room_tokens=self.room_tokens,
        )

    @property
    def goal(self) -> Goal:
        """The goal that the plan was made for."""
        return Goal.model_validate({"objective": self.objective, **self.constraints})


def is_runtime_plan(path: Path) -> bool:
    """Return whether the file is a plan for a runtime. Raises InputError where it is unreadable."""
    return is_there(path) and "runtime" in read_yaml(path, "plan")


def is_any_plan(path: Path) -> bool:
    """Return whether the file is a plan, of a policy or for a runtime."""
    return is_there(path) and read_yaml(path, "plan").get("format") == PLAN_FORMAT


def load_runtime_plan(path: Path) -> RuntimePlanFile:
    """Read the file. Raises InputError, one line, when it is no plan for a runtime."""
    if not is_there(path):
        raise InputError(f"no plan file {path}")
    plan = validated(RuntimePlanFile, read_yaml(path, "plan"), path)
    if plan.runtime.name not in WRITERS:
        raise InputError(
            f"{path}: runtime.name: {unknown_name('runtime', plan.runtime.name, WRITERS)}"
        )
    # A plan may be read from any folder, so its paths are as seen from its own.
    setting = plan.setting.moved(lambda name: from_folder(name, path.parent))
    return plan.model_copy(update={"setting": setting})


def save_runtime_plan(plan: RuntimePlanFile, path: Path) -> None:
    """Write the file, whole or not at all. Raises InputError when it cannot be written.

    Relative paths in the plan's setting are written as seen from the file's folder.
    """
    setting = plan.setting.moved(lambda name: to_folder(name, path.parent))
    moved = plan.model_copy(update={"setting": setting})
    write_yaml(moved.model_dump(mode="json"), path)
