"""A plan: what to run, where everything starts, and what to expect; a YAML file."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwprofiles import (
    InputError,
    Machine,
    closest,
    first_problem,
    load_machine,
    names_machine_file,
    read_yaml,
    with_threads,
    write_yaml,
)
from hwprofiles.input_file import is_there
from hwprofiles.limits import (
    MAX_BYTES,
    MAX_DRAWS,
    MAX_EXPERTS,
    MAX_SEED,
    MAX_SEQUENCES,
    Devices,
    Tokens,
)
from hwprofiles.units import format_bytes
from planner.search.objectives import OBJECTIVES, Goal
from sim.model.library import load_model, model_names, with_kv_type
from sim.model.model import Model
from sim.policies.policy import Policy
from sim.policies.serialize import policy_from_data, policy_to_data
from sim.routing import load_routing
from sim.step.simulate import Scenario
from sim.workload.batch import Batch

Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
"""Of something in a library, or of a file."""
Sequences = Annotated[int, Field(ge=1, le=MAX_SEQUENCES)]


class Setting(BaseModel):
    """What was asked: names or paths as the user gave them, and the numbers of the batch.

    ``quantization`` and ``cpu_threads`` are those of the plan; ``offered_*`` are what it was chosen
    from (none: nothing was offered). ``draws`` of the routing are averaged over (None: one, unless
    a plan is looked for). ``reserve_vram_bytes`` of GPU memory belong to others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Name
    quantization: Name | None = None
    offered_quantizations: tuple[Name, ...] = ()
    kv_type: Name | None = None
    machine: Name
    machine_overrides: tuple[str, ...] = ()
    cpu_threads: Devices | None = None
    offered_cpu_threads: tuple[Devices, ...] = ()
    prompt_tokens: Tokens
    output_tokens: Tokens
    batch_size: Sequences = 1
    beams: Sequences = 1
    routing: Name | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    draws: Annotated[int, Field(ge=1, le=MAX_DRAWS)] | None = None
    reserve_vram_bytes: Bytes = 0
    expert_slots_per_layer: Annotated[int, Field(ge=0, le=MAX_EXPERTS)] | None = None
    gpus: Devices = 1
    expert_cache_bytes: Bytes | None = None

    @property
    def batch(self) -> Batch:
        """The workload."""
        return Batch(
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            batch_size=self.batch_size,
            beams=self.beams,
        )

    def moved(self, change: Callable[[str], str]) -> "Setting":
        """The setting with ``change`` applied to what names a file; names of the libraries stay."""
        updates = {}
        if self.model not in model_names():
            updates["model"] = change(self.model)
        if names_machine_file(self.machine):
            updates["machine"] = change(self.machine)
        if self.routing not in (None, "uniform"):
            assert self.routing is not None
            kind, colon, file = self.routing.rpartition("popularity:")
            updates["routing"] = f"{kind}{colon}{change(file)}"
        return self.model_copy(update=updates)

    def loaded_model(self) -> Model:
        """The model in the setting's quantization and type of keys and values. Raises InputError."""
        return with_kv_type(load_model(self.model, self.quantization), self.kv_type)

    def loaded_machine(self) -> Machine:
        """The machine with what is changed of it and its CPU threads, without what is reserved.

        Raises InputError where nothing would be left, and for a number of threads that it has no
        rates for.
        """
        machine = self._unreserved(load_machine(self.machine, self.machine_overrides))
        return machine if self.cpu_threads is None else with_threads(machine, self.cpu_threads)

    def _unreserved(self, machine: Machine) -> Machine:
        if not self.reserve_vram_bytes:
            return machine
        memory_bytes = int(machine.gpu.memory_bytes.effective)
        if self.reserve_vram_bytes >= memory_bytes:
            reserved = format_bytes(self.reserve_vram_bytes)
            raise InputError(
                f"--reserve-vram must be less than the GPU's {format_bytes(memory_bytes)}, got {reserved}"
            )
        left = f"gpu.memory_bytes={memory_bytes - self.reserve_vram_bytes}"
        return load_machine(self.machine, (*self.machine_overrides, left))

    def scenario(self, policy: Policy, engine: str = "fast") -> Scenario:
        """The setting under a policy. Raises InputError when a name leads nowhere."""
        model = self.loaded_model()
        return Scenario(
            machine=self.loaded_machine(),
            model=model,
            batch=self.batch,
            policy=policy,
            routing=load_routing(self.routing, model),
            seed=self.seed,
            engine=engine,
            slots_per_layer=self.expert_slots_per_layer,
            num_gpus=self.gpus,
            expert_cache_bytes=self.expert_cache_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan as its file states it.

    ``predicted`` holds the metrics, means over the setting's draws; ``bounds`` holds static_bound_s
    and clairvoyant_bound_s with the gaps to them; ``provenance`` the weakest of what went in and
    where it is from. ``is_stopped``: the search was ended before it had. ``offers`` are the best of
    each offer, the plan's own among them, where there were several.
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


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["rosin-plan/1"]
    version: str
    setting: Setting
    objective: str
    constraints: dict[str, Any] = {}
    is_stopped: bool = False
    policy: dict[str, Any]
    predicted: dict[str, Any]
    bounds: dict[str, Any]
    binding_resource: str
    provenance: dict[str, Any]
    offers: tuple[dict[str, Any], ...] = ()


def plan_to_data(plan: Plan) -> dict[str, Any]:
    """The plan in plain types, as its file has it but for the paths in it, which a file names from
    its own folder.
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
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, _File)}") from None
    if file.objective not in OBJECTIVES:
        raise InputError(
            f"{path}: objective: none named {file.objective!r}{closest(file.objective, OBJECTIVES)}"
        )
    try:
        goal = Goal.model_validate({"objective": file.objective, **file.constraints})
    except ValidationError as error:
        raise InputError(f"{path}: constraints: {first_problem(error, Goal)}") from None
    return Plan(
        setting=file.setting.moved(lambda name: _from_folder(name, path.parent)),
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

    Relative paths in its setting are written as seen from its own folder, so that it can be read
    from any other.
    """
    setting = plan.setting.moved(lambda name: _to_folder(name, path.parent))
    write_yaml(plan_to_data(replace(plan, setting=setting)), path)


def _to_folder(name: str, folder: Path) -> str:
    return (
        name
        if Path(name).is_absolute() or not is_there(Path(name))
        else os.path.relpath(name, folder)
    )


def _from_folder(name: str, folder: Path) -> str:
    return os.path.normpath(folder / name) if is_there(folder / name) else name
