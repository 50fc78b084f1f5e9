"""A plan: what to run, where everything starts, and what to expect; a YAML file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hwprofiles import (
    InputError,
    closest,
    read_yaml,
    validated,
    write_yaml,
)
from hwprofiles.file_part import FilePart
from hwprofiles.input_file import is_there
from planner.search.objectives import OBJECTIVES, Goal
from planner.search.setting import Setting as Setting  # others import it from here
from planner.search.setting import from_folder, to_folder
from sim.policies.policy import Policy
from sim.policies.serialize import policy_from_data, policy_to_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan as its file states it.

    ``predicted`` holds the metrics, means over the setting's draws. ``bounds`` holds static_bound_s
    and clairvoyant_bound_s with the gaps to them. ``provenance`` says what the weakest number that
    went in is, and where it is from. ``is_stopped``: the search was stopped before its end.
    ``offers`` are the best of each offer, the plan's own among them, where there were several.
    """

    setting: Setting
    goal: Goal
    policy: Policy
    predicted: Mapping[str, Any]
    bounds: Mapping[str, Any]
    binding_resource: str
    provenance: Mapping[str, Any]
    version: str
    is_stopped: bool = False
    offers: tuple[Mapping[str, Any], ...] = ()


class _File(FilePart):
    format: Literal["rosin-plan/1"]
    version: str
    setting: Setting
    objective: str
    # Checked when the goal is made, which alone knows its keys.
    constraints: dict[str, Any] = Field(default={})
    is_stopped: bool = False
    policy: dict[str, Any]
    predicted: dict[str, Any]
    bounds: dict[str, Any]
    binding_resource: str
    provenance: dict[str, Any]
    offers: tuple[dict[str, Any], ...] = ()


def plan_to_data(plan: Plan) -> dict[str, Any]:
    """Return the plan in plain types, as its file has it except for the paths in it.

    A file names paths from its own folder.
    """
    return {
        "format": "rosin-plan/1",
        "version": plan.version,
        "setting": plan.setting.model_dump(mode="json"),
        "objective": plan.goal.objective,
        "constraints": plan.goal.model_dump(mode="json", exclude={"objective"}),
        "is_stopped": plan.is_stopped,
        "policy": policy_to_data(plan.policy),
        "predicted": dict(plan.predicted),
        "bounds": dict(plan.bounds),
        "binding_resource": plan.binding_resource,
        "provenance": dict(plan.provenance),
        "offers": [dict(offer) for offer in plan.offers],
    }


def load_plan(path: Path, *, importable: Collection[str] = ()) -> Plan:
    """Read a plan file. Raises InputError, one line, when it is not one.

    A file runs no code but that of the modules in ``importable``, whose parts its policy may have.
    """
    if not is_there(path):
        raise InputError(f"no plan file {path}")
    data = read_yaml(path, "plan")
    if "runtime" in data:
        raise InputError(
            f"{path} is a plan for a program, not of a policy; rosin simulate and rosin export read it"
        )
    file = validated(_File, data, path)
    # Named here rather than by the goal, so that the message has the nearest objective.
    if file.objective not in OBJECTIVES:
        raise InputError(
            f"{path}: objective: none named {file.objective!r}{closest(file.objective, OBJECTIVES)}"
        )
    asked = {"objective": file.objective, **file.constraints}
    goal = validated(Goal, asked, f"{path}: constraints")
    return Plan(
        setting=file.setting.moved(lambda name: from_folder(name, path.parent)),
        goal=goal,
        is_stopped=file.is_stopped,
        policy=policy_from_data(file.policy, f"{path}: policy", importable=importable),
        predicted=file.predicted,
        bounds=file.bounds,
        binding_resource=file.binding_resource,
        provenance=file.provenance,
        version=file.version,
        offers=file.offers,
    )


def save_plan(plan: Plan, path: Path) -> None:
    """Write the plan file, whole or not at all. Raises InputError when it cannot be written.

    Relative paths in the plan's setting are written as seen from the file's folder, so that the
    file can be read from any other.
    """
    setting = plan.setting.moved(lambda name: to_folder(name, path.parent))
    write_yaml(plan_to_data(replace(plan, setting=setting)), path)
