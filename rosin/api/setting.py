"""Settings made of a caller's arguments: names stay names, and objects become files in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from hwprofiles import Machine
    from planner.search.plan import Setting
    from sim.model.model import Model
    from sim.policies import Policy
    from sim.routing import Routing
    from sim.step.simulate import Scenario


class SettingValues(TypedDict, total=False):
    """The arguments of a setting besides model, machine and policy.

    An argument that is left out has the default of the command line. ``changes`` sets numbers of
    the machine by their paths. The figures are means over ``draws`` draws of the routing.
    """

    prompt_tokens: int
    output_tokens: int
    batch_size: int
    beams: int
    routing: str | Path | Routing
    seed: int
    draws: int
    quantization: str
    kv_type: str
    changes: Mapping[str, float | str]
    cpu_threads: int
    reserve_vram_bytes: int
    expert_slots_per_layer: int
    gpus: int
    split_mode: str
    expert_cache_bytes: int
    layers_by_card: Sequence[int]
    disk_reads: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A setting with the folder of its files, and the routing where the caller gave an object."""

    setting: Setting
    routing: Routing | None
    folder: TemporaryDirectory[str]

    def scenario(self, policy: Policy) -> Scenario:
        """Return the scenario under a policy. Raises hwprofiles.InputError for wrong input."""
        found = self.setting.scenario(policy)
        # A routing that the caller gave as an object has no name for the setting to hold.
        return found if self.routing is None else replace(found, routing=self.routing)

    def refuse_routing_object(self) -> None:
        """Raise hwprofiles.InputError if the routing is an object, since a plan file names its
        routing.
        """
        from hwprofiles import InputError

        if self.routing is not None:
            raise InputError("routing: a plan names its routing; give a name or a file")

    @property
    def num_draws(self) -> int:
        """Return the number of draws that a simulation averages over."""
        return self.setting.draws or 1


def named(
    model: str | Path | Model, machine: str | Path | Machine, values: Mapping[str, Any]
) -> Named:
    """Return the setting that a caller asks for.

    Raises hwprofiles.InputError for an unknown argument, or an impossible value.
    """
    from hwprofiles import unknown_name, validated
    from planner.search.plan import Setting
    from rosin.cli.scenario import DEFAULT_TOKENS

    # Python checks no keys of a TypedDict, and a misspelt one would be ignored in silence.
    for key in values:
        if key not in SettingValues.__annotations__:
            raise unknown_name("argument", key, SettingValues.__annotations__)
    # The result keeps this object: the folder is removed with the last reference to it.
    folder = TemporaryDirectory(prefix="rosin-")
    said: dict[str, Any] = {"prompt_tokens": DEFAULT_TOKENS, "output_tokens": DEFAULT_TOKENS}
    said |= {key: value for key, value in values.items() if value is not None}
    # A setting refuses unknown keys, and takes changes and routing in another form.
    changes = said.pop("changes", {})
    routing = said.pop("routing", None)
    said["machine_overrides"] = tuple(f"{path}={value}" for path, value in changes.items())
    said["model"] = _model_name(model, Path(folder.name))
    said["machine"] = _machine_name(machine, Path(folder.name))
    if isinstance(routing, str | Path):
        said["routing"] = str(routing)
        routing = None
    return Named(setting=validated(Setting, said), routing=routing, folder=folder)


def policies_of(policies: Sequence[str | Policy] | None) -> list[Policy]:
    """Return the policies, given by name or as objects; None stands for all that ship."""
    from sim.policies import POLICIES

    return [policy_of(policy) for policy in (policies if policies is not None else POLICIES)]


def policy_of(policy: str | Path | Policy) -> Policy:
    """Return a policy, given its name, ``module:NAME``, a plan file (.yaml), or the policy itself.

    Raises hwprofiles.InputError for an unknown name.
    """
    from planner.search.plan import load_plan
    from sim.policies import Policy, find_policy

    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, Path) or policy.endswith((".yaml", ".yml")):
        return load_plan(Path(policy)).policy
    return find_policy(policy)


def _model_name(model: str | Path | Model, folder: Path) -> str:
    from sim.model.library import save_model
    from sim.model.model import Model

    if not isinstance(model, Model):
        return str(model)
    save_model(model, folder / "model.yaml")
    return str(folder / "model.yaml")


def _machine_name(machine: str | Path | Machine, folder: Path) -> str:
    from hwprofiles import Machine, machine_data, write_yaml

    if not isinstance(machine, Machine):
        return str(machine)
    write_yaml(machine_data(machine), folder / "machine.yaml")
    return str(folder / "machine.yaml")
