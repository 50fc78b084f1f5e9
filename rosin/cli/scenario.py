"""A scenario from the options that simulate, compare and their like share; the one place that reads them."""

import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from rosin.cli import options as given

if TYPE_CHECKING:
    from hwprofiles import InputError, Machine
    from rosin.report.json_documents import ScenarioRecord
    from sim.policies import Policy
    from sim.simulate import Scenario

DEFAULT_TOKENS = 128
"""Of a prompt, and of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioOptions:
    """What the options say, as typed. A field here is an option of every command that takes a scenario."""

    model: given.ModelOption
    machine: given.MachineOption
    prompt_tokens: given.PromptTokensOption = DEFAULT_TOKENS
    output_tokens: given.OutputTokensOption = DEFAULT_TOKENS
    batch: given.BatchOption = 1
    beams: given.BeamsOption = 1
    routing: given.RoutingOption = None
    engine: given.EngineOption = "fast"
    quantization: given.QuantizationOption = None
    expert_slots_per_layer: given.SlotsOption = None
    settings: given.ScenarioSetOption = None
    seed: given.SeedOption = 0

    def command(self, *words: str) -> str:
        """The command line that repeats it: the words given, then every option that says anything."""
        return shlex.join(["rosin", *words, *self._arguments()])

    def _arguments(self) -> Iterator[str]:
        names = ("model", "machine", "prompt_tokens", "output_tokens", "batch", "beams", "routing", "engine", "quantization")
        for name in (*names, "expert_slots_per_layer", "seed"):
            value = getattr(self, name)
            if value is not None:
                yield from (f"--{name.replace('_', '-')}", str(value))
        for setting in self.settings or ():
            yield from ("--set", setting)


def takes_scenario(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of a scenario in place of its first parameter, which receives them as one object."""
    _, *others = inspect.signature(command, eval_str=True).parameters.values()
    hints = get_type_hints(ScenarioOptions, include_extras=True)
    names = [field.name for field in fields(ScenarioOptions)]

    def with_options(**values: Any) -> None:
        command(ScenarioOptions(**{name: values.pop(name) for name in names}), **values)

    parameters = [_parameter(field, hints[field.name]) for field in fields(ScenarioOptions)] + others
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads the options off it
    return with_options


def _parameter(option: Any, annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.default is MISSING else option.default
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def build_scenarios(options: ScenarioOptions, policy_names: Sequence[str]) -> list["Scenario"]:
    """One scenario a policy, alike in all else. Raises InputError for a name, file or value that is wrong.

    A parameter of ``--set`` applies to each of the policies that has it; one of them must.
    """
    from hwprofiles import load_machine
    from sim.engine.engines import engine
    from sim.model_library import load_model
    from sim.policies import find_policy
    from sim.routing import load_routing
    from sim.simulate import Scenario
    from sim.workload import Batch

    engine(options.engine)
    policies = [find_policy(name) for name in policy_names]
    overrides, parameters = split_settings(options.settings or ())
    machine = load_machine(options.machine, overrides)
    policies = with_parameters(policies, parameters, machine)
    model = load_model(options.model, options.quantization)
    batch = Batch(prompt_tokens=options.prompt_tokens, output_tokens=options.output_tokens, batch_size=options.batch, beams=options.beams)
    routing = load_routing(options.routing, model)
    return [
        Scenario(
            machine=machine,
            model=model,
            batch=batch,
            policy=policy,
            routing=routing,
            seed=options.seed,
            engine=options.engine,
            slots_per_layer=options.expert_slots_per_layer,
        )
        for policy in policies
    ]


def record_of(options: ScenarioOptions, scenario: "Scenario", command: str, *, has_policy: bool) -> "ScenarioRecord":
    """What repeats the scenario, as JSON shows it."""
    from rosin.report.json_documents import ScenarioRecord
    from sim.policies.serialize import policy_to_data

    return ScenarioRecord(
        command=command,
        model=options.model,
        machine=options.machine,
        quantization=scenario.model.quantization,
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
        batch=options.batch,
        beams=options.beams,
        routing=options.routing,
        routing_description=scenario.routing.description,
        engine=options.engine,
        expert_slots_per_layer=options.expert_slots_per_layer,
        settings=list(options.settings or ()),
        policy=policy_to_data(scenario.policy) if has_policy else None,
    )


def split_settings(settings: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The settings whose first word is a part of a machine, as typed, and the others by key. Raises InputError without ``=``."""
    from hwprofiles import InputError, Machine

    overrides, parameters = [], {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals and value):
            raise InputError(f"--set {setting}: write key=value, for example link.h2d.bytes_per_s=50e9 or believed_cost=code")
        if key.partition(".")[0] in Machine.model_fields:
            overrides.append(setting)
        else:
            parameters[key] = value
    return overrides, parameters


def with_parameters(policies: Sequence["Policy"], parameters: Mapping[str, str], machine: "Machine") -> list["Policy"]:
    """Each policy with those of the parameters that it has. Raises InputError for one that none of them has."""
    from sim.policies import with_settings

    for key in parameters:
        if not any(_has(policy, key) for policy in policies):
            raise _unknown_key(key, policies, machine)
    return [with_settings(policy, {key: value for key, value in parameters.items() if _has(policy, key)}) for policy in policies]


def _has(policy: "Policy", key: str) -> bool:
    return key in _keys(policy)


def _keys(policy: "Policy") -> set[str]:
    """Parameters by their whole name and by their last word."""
    from sim.policies import parameter_names

    return {key for name in parameter_names(policy) for key in (name, name.partition(".")[2])}


def _unknown_key(key: str, policies: Sequence["Policy"], machine: "Machine") -> "InputError":
    """The error for a key of neither: with the nearest of both, or where to find them."""
    from hwprofiles import InputError, closest
    from rosin.report.machine_numbers import machine_numbers

    parameters = set().union(*(_keys(policy) for policy in policies))
    near = closest(key, parameters | {number.path for number in machine_numbers(machine)})
    if not near.startswith("; did you mean"):
        near = closest(key, parameters)
    whose = f"policy {policies[0].name}" if len(policies) == 1 else "any of the policies"
    return InputError(
        f"--set {key}: a key of neither the machine nor {whose}{near} (rosin machines NAME and rosin policies NAME list them)"
    )
