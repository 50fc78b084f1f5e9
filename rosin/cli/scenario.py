"""A scenario made of the options that commands such as simulate and compare share.

No other module reads these options.
"""

import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosin.cli import options as given
from rosin.cli.memory_guard import refuse_large_run
from rosin.cli.option_groups import OptionGroup
from rosin.cli.sizes import read_size

if TYPE_CHECKING:
    from planner.search.plan import Plan
    from planner.search.setting import Setting
    from rosin.cli.output import Output
    from rosin.cli.waiting import Waiting
    from rosin.report.json_documents import ScenarioRecord
    from sim.model.model import Model
    from sim.policies import Policy
    from sim.step.simulate import Question, Scenario

DEFAULT_TOKENS = 128
"""The default number of prompt tokens, and of output tokens."""

MAX_SELECTIONS = 1_000_000_000
"""The most selections of experts in one run; each takes two bytes of memory in a simulation."""

LISTED: Mapping[str, str] = {"allow_import": "--allow-import", "settings": "--set"}
"""Options that may be repeated, by the names of their fields."""

SETTING_KEYS: Mapping[str, str] = {"batch": "batch_size"}
"""Keys of a setting that differ from the names of their options, by field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioOptions(OptionGroup):
    """The options of a scenario, as typed; every command with a scenario has each of them."""

    model: given.ModelOption = None
    machine: given.MachineOption = None
    prompt_tokens: given.PromptTokensOption = None
    output_tokens: given.OutputTokensOption = None
    batch: given.BatchOption = None
    beams: given.BeamsOption = None
    routing: given.RoutingOption = None
    quantization: given.OfferedQuantizationOption = None
    kv_type: given.KvTypeOption = None
    cpu_threads: given.ThreadsOption = None
    expert_slots_per_layer: given.SlotsOption = None
    gpus: given.GpusOption = None
    split_mode: given.SplitModeOption = None
    layers_by_card: given.CardLayersOption = None
    disk_reads: given.DiskReadsOption = None
    expert_cache_bytes: given.CacheBytesOption = None
    seed: given.ScenarioSeedOption = None
    draws: given.DrawsOption = None
    reserve_vram: given.ReserveOption = None
    plan: given.PlanOption = None
    allow_import: given.AllowImportOption = None
    engine: given.EngineOption = "fast"
    settings: given.SetAnyOption = None

    def refuse_others(self, taken: Container[str], reason: str) -> None:
        """Refuse options that are given but not ``taken``. Raises InputError with the reason."""
        from hwprofiles import InputError

        for field in fields(self):
            if field.name not in taken and getattr(self, field.name) is not None:
                raise InputError(f"--{field.name.replace('_', '-')} does not go with {reason}")

    def needed(self, name: str, reason: str = "") -> str:
        """Return the value of the option of that name. Raises InputError if it is missing."""
        from hwprofiles import InputError

        value: str | None = getattr(self, name)
        if value is None:
            raise InputError(f"missing option '--{name}'{reason}")
        return value

    def command(self, *words: str) -> str:
        """Return a command line that repeats the command: the given words and all given options."""
        said = (
            (field.name, getattr(self, field.name))
            for field in fields(self)
            if field.name not in LISTED
        )
        options = [
            word
            for name, value in said
            if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        for name, option in LISTED.items():
            options += [word for value in getattr(self, name) or () for word in (option, value)]
        return shlex.join(["rosin", *words, *options])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRequest:
    """The scenario that the options ask for, before a policy is chosen.

    It has the plan that the options start from, if any, the setting, and the parameters of policies
    that ``--set`` names.
    """

    plan: "Plan | None"
    plan_path: Path | None
    setting: "Setting"
    parameters: Mapping[str, str]
    engine: str

    @property
    def num_draws(self) -> int:
        """Return the number of draws that a simulation averages over."""
        return self.setting.draws or 1

    def question(self) -> "Question":
        """Return the question that the options ask; any policy may answer it.

        Raises InputError for a wrong name, file or value.
        """
        from sim.engine.engines import engine

        # An unknown engine is refused before anything is loaded.
        engine(self.engine)
        found = self.setting.question(self.engine)
        _check_size(found)
        return found

    def scenarios(
        self, policies: Sequence["Policy"], *, keeps_totals: bool = False
    ) -> list["Scenario"]:
        """Return a scenario for each policy, all with the same question.

        Each parameter of ``--set`` applies to every policy that has it. ``keeps_totals``: a long
        run that can be simulated part by part keeps only one part at a time. Raises InputError for
        a wrong name, file or value, or for a parameter that no policy has.
        """
        from rosin.cli.settings import with_parameters

        question = self.question()
        self._check_placement(policies, question.model)
        found = [
            question.under(policy)
            for policy in with_parameters(policies, self.parameters, question.machine)
        ]
        for scenario in found:
            refuse_large_run(scenario, keeps_totals=keeps_totals and self.num_draws == 1)
        return found

    def _check_placement(self, policies: Sequence["Policy"], model: "Model") -> None:
        """Raise InputError, naming the plan's file, if the plan's placement is of another model."""
        from hwprofiles import InputError
        from sim.policies.placement.explicit import ExplicitPlacement

        placement = self.plan.policy.placement if self.plan is not None else None
        # Policies that are named beside the plan do not carry its placement.
        if isinstance(placement, ExplicitPlacement) and any(
            policy.placement is placement for policy in policies
        ):
            try:
                placement.check(model)
            except InputError as error:
                raise InputError(f"{self.plan_path}: policy.placement.experts: {error}") from None


def simulating(doing: str, engine_name: str, output: "Output") -> "Waiting":
    """Return a progress line for a simulation, which mentions a compilation that comes first."""
    if output.is_watched and engine_name == "fast":
        from sim.step.execute import COMPILATION_NOTICE, needs_compilation

        doing = COMPILATION_NOTICE if needs_compilation() else doing
    return output.waiting(doing)


def compile_first(engine_name: str, output: "Output") -> None:
    """Compile everything in two processes before the first plan on a computer.

    Two processes take half as long as one, and the terminal shows their progress.
    """
    from planner.search.prepare import is_prepared
    from rosin.cli.preparing import compile_all

    if engine_name == "fast" and not is_prepared():
        compile_all(output)


def _check_size(question: "Question") -> None:
    """Raise InputError for a question with more than MAX_SELECTIONS selections of experts."""
    from hwprofiles import InputError

    model = question.model
    batch = question.batch
    selections = batch.num_sequences * batch.context_tokens * len(model.moe_layers) * model.top_k
    if selections > MAX_SELECTIONS:
        reached = f"{selections:,} selections of experts, at most {MAX_SELECTIONS:,} are simulated"
        raise InputError(f"{reached}; lower --batch, --beams, --prompt-tokens or --output-tokens")


def read_options(options: ScenarioOptions, *, takes_offers: bool = False) -> ScenarioRequest:
    """Read the named plan, if any, and replace its values by the options that are given.

    ``takes_offers``: an option may offer several values, and a plan is chosen from them; otherwise
    the plan's own choice stands. Raises InputError for a wrong name, file or value.
    """
    from rosin.cli.settings import split_settings

    plan = read_plan(options.plan, options.allow_import or ()) if options.plan is not None else None
    overrides, parameters = split_settings(options.settings or ())
    setting = _setting(options, plan, overrides, takes_offers=takes_offers)
    return ScenarioRequest(
        plan=plan,
        plan_path=options.plan,
        setting=setting,
        parameters=parameters,
        engine=options.engine,
    )


def read_plan(path: Path, importable: Sequence[str]) -> "Plan":
    """Return the plan in a file. Its policy may import parts from the ``importable`` modules only.

    Raises InputError for a wrong file, or an import that is not allowed.
    """
    from hwprofiles import InputError
    from planner.search.plan import load_plan
    from sim.policies.serialize import ImportNotAllowed

    try:
        return load_plan(path, importable=importable)
    except ImportNotAllowed as error:
        raise InputError(f"{error}; if you trust it, add --allow-import {error.module}") from None


def record_of(
    request: ScenarioRequest, scenario: "Scenario", command: str, *, has_policy: bool
) -> "ScenarioRecord":
    """Return the record that repeats the scenario, as the JSON shows it."""
    from rosin.report.json_documents import ScenarioRecord
    from sim.policies.serialize import policy_to_data

    return ScenarioRecord(
        command=command,
        setting=request.setting,
        quantization=scenario.model.quantization,
        routing_description=scenario.routing.description,
        engine=request.engine,
        policy=policy_to_data(scenario.policy) if has_policy else None,
    )


def _setting(
    options: ScenarioOptions, plan: "Plan | None", overrides: Sequence[str], *, takes_offers: bool
) -> "Setting":
    from hwprofiles import InputError
    from planner.search.setting import Setting
    from sim.workload.batch import Batch

    values: dict[str, Any] = {"prompt_tokens": DEFAULT_TOKENS, "output_tokens": DEFAULT_TOKENS}
    # A plan replaces the defaults whole; what the options say then replaces values of the plan.
    if plan is not None:
        values = plan.setting.model_dump()
    values |= dict(_said(options, Setting.model_fields))
    # A machine has rates for its own numbers of threads, so another machine voids the plan's.
    if options.machine is not None or not takes_offers:
        values |= {"offered_cpu_threads": ()} | (
            {"cpu_threads": None} if options.machine is not None else {}
        )
    values |= {} if takes_offers else {"offered_quantizations": ()}
    values |= _offered(
        "--quantization",
        options.quantization,
        "quantization",
        "offered_quantizations",
        takes_offers=takes_offers,
    )
    values |= _offered(
        "--cpu-threads",
        options.cpu_threads,
        "cpu_threads",
        "offered_cpu_threads",
        takes_offers=takes_offers,
    )
    for name in ("model", "machine"):
        if name not in values:
            raise InputError(f"missing option '--{name}'; name one, or a plan with --plan")
    if options.layers_by_card is not None:
        values["layers_by_card"] = _layers(options.layers_by_card)
    batch = {field.name: values[field.name] for field in fields(Batch) if field.name in values}
    if options.reserve_vram is not None:
        values["reserve_vram_bytes"] = int(read_size("--reserve-vram", options.reserve_vram))
    if options.draws is not None and options.draws < 1:
        raise InputError(f"--draws must be at least 1, got {options.draws}")
    Batch(
        **batch
    )  # says in the words of the options what a setting would refuse in those of its file
    # Changes in a plan are of the plan's machine; another machine starts without them.
    kept = () if options.machine is not None else values.get("machine_overrides", ())
    return _validated(values | {"machine_overrides": (*kept, *overrides)})


def _layers(text: str) -> tuple[int, ...]:
    """Return the number of layers on each card.

    Raises InputError for text that is no list of numbers.
    """
    from hwprofiles import InputError

    try:
        return tuple(int(item) for item in text.split(","))
    except ValueError:
        raise InputError(
            f"--layers-by-card takes numbers of layers such as 20,16, got {text}"
        ) from None


def _validated(values: Mapping[str, Any]) -> "Setting":
    """The setting of those values. Raises InputError that names the option at fault."""
    from pydantic import ValidationError

    from hwprofiles import InputError, first_problem
    from planner.search.setting import Setting

    try:
        return Setting.model_validate(values)
    except ValidationError as error:
        key, _, problem = first_problem(error, Setting).partition(": ")
        names = {"reserve_vram_bytes": "reserve_vram"} | {
            key: name for name, key in SETTING_KEYS.items()
        }
        raise InputError(f"--{names.get(key, key).replace('_', '-')}: {problem}") from None


def _offered(
    option: str, text: str | None, key: str, offered_key: str, *, takes_offers: bool
) -> dict[str, Any]:
    """Return the values of an option under its two keys: the first item, and all if several are
    offered.

    Raises InputError for several items if only one is taken, and for a repeated item.
    """
    from hwprofiles import InputError

    if text is None:
        return {}
    items: list[Any] = [item.strip() for item in text.split(",")]
    if not all(items):
        raise InputError(f"{option} {text}: an empty name; write one, or several with commas")
    if key == "cpu_threads":
        items = [_whole(option, item) for item in items]
    if len(items) > 1 and not takes_offers:
        raise InputError(
            f"{option} {text}: one is taken here; rosin plan chooses among several, rosin whatif --vary tries each"
        )
    repeated = next((item for item in items if items.count(item) > 1), None)
    if repeated is not None:
        raise InputError(f"{option} {text}: {repeated} is there twice")
    return {key: items[0], offered_key: tuple(items) if len(items) > 1 else ()}


def _whole(option: str, text: str) -> int:
    from hwprofiles import InputError

    # int() also reads signs, underscores and digits of other scripts, which nobody means here.
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise InputError(f"{option} must be whole numbers of at least 1, got {text}")
    return int(text)


def _said(options: ScenarioOptions, keys: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the options that are given and belong to a setting, with their keys in the setting."""
    for field in fields(options):
        key = SETTING_KEYS.get(field.name, field.name)
        value = getattr(options, field.name)
        if key in keys and value is not None:
            yield key, value
