"""`rosin simulate --workload`: requests over time, served by instances with queues, batches and
tiers of KV.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.named_option import named
from rosin.cli.option_groups import OptionGroup
from rosin.cli.output import Output, OutputOptions
from rosin.cli.scenario import ScenarioOptions, simulating
from rosin.cli.trace_options import TraceBlockOption, TraceTimeOption

if TYPE_CHECKING:
    from sim.costs.memory import Infeasible as Misfit
    from sim.serving import Cluster, ServingSetting
    from sim.workload.requests import RequestsSpec

WorkloadOption = Annotated[
    str | None,
    named(
        "--workload",
        "NAME|FILE",
        "Serve these requests over time: a request file (.yaml), a trace (.jsonl, .json, .csv), or a name that ships.",
    ),
]
RequestsOption = Annotated[
    int | None,
    named("--requests", "N", "With --workload: no more than this many requests.", least=1),
]
ConcurrencyOption = Annotated[
    int | None,
    named(
        "--concurrency",
        "N",
        "With --workload: always N requests at once, whatever their times.",
        least=1,
    ),
]
ServingOption = Annotated[
    Path | None,
    named(
        "--serving", "FILE", "With --workload: how it is served, instances and tiers of KV (.yaml)."
    ),
]
TierOption = Annotated[
    list[str] | None,
    named(
        "--kv-tier",
        "NAME=SIZE",
        "With --workload: keep KV in cpu, disk or remote too, such as cpu=500GB; cpu first; may be repeated.",
    ),
]

_LENGTHS = "its requests say how long they are"
REFUSED: Mapping[str, str] = {
    "prompt_tokens": _LENGTHS,
    "output_tokens": _LENGTHS,
    "batch": "its requests come when they come",
    "beams": "its requests have one answer each",
    "expert_slots_per_layer": "--set instance.kv_tokens=N says how much memory experts leave to KV",
    "cpu_threads": "no plan chose them, so the machine's own rates count",
    "draws": "its steps are means over draws already",
    "reserve_vram": "--set instance.gpu_memory_fraction=F says how much memory is used",
    "plan": "a plan is for one batch; name a policy",
}
"""Options of a scenario that do not go with a workload, with the reasons."""
SPEC_PARTS = ("balancing", "disaggregation", "instance", "num_instances", "offload")
"""First words of the keys of a serving file that ``--set`` changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingOptions(OptionGroup):
    """The options of serving, as typed."""

    workload: WorkloadOption = None
    requests: RequestsOption = None
    concurrency: ConcurrencyOption = None
    serving: ServingOption = None
    kv_tier: TierOption = None
    trace_block_tokens: TraceBlockOption = None
    trace_time_unit: TraceTimeOption = None

    def load(self) -> "RequestsSpec":
        """Return the requests to serve, in a closed loop if a concurrency is given.

        Raises InputError for a wrong workload.
        """
        from sim.workload.requests import load_requests, trace_units

        assert self.workload is not None
        units = trace_units(self.trace_block_tokens, self.trace_time_unit)
        requests = load_requests(self.workload, units)
        return requests if self.concurrency is None else requests.always(self.concurrency)

    def tier_sizes(self) -> dict[str, str | None]:
        """Return the sizes of the KV tiers by name (None: unlimited).

        Raises InputError for a wrong size.
        """
        return dict(map(_tier_size, self.kv_tier or ()))


def simulate_serving(
    options: ScenarioOptions,
    policy: str | None,
    serving: ServingOptions,
    said: OutputOptions,
) -> None:
    """Serve the workload and print the result.

    Raises InputError for wrong input, and NoFeasiblePlan if the model does not fit.
    """
    from hwprofiles import load_machine
    from rosin.commands.simulate.serving_document import ServedWorkload
    from rosin.commands.simulate.serving_page import serve_page
    from rosin.commands.simulate.serving_result import serve_record, serve_result
    from rosin.report.tables import shortfall
    from sim.model.library import load_model, with_kv_type
    from sim.serving import Cluster, serve, source_of
    from sim.serving.setting import serving_setting
    from sim.serving.spec import load_serving

    assert serving.workload is not None
    _check(options)
    overrides, changes, parameters = split_serving_settings(options.settings or ())
    spec = load_serving(serving.serving, changes, serving.tier_sizes())
    if policy is not None:
        spec = spec.on_one_gpu()
    machine = load_machine(options.needed("machine"), overrides)
    # Mistakes are blamed on the file only where all that is said comes from it.
    is_all_in_file = serving.serving is not None and not changes and not serving.kv_tier
    where = str(serving.serving) if is_all_in_file else ""
    model = load_model(options.needed("model"), options.quantization)
    setting = serving_setting(spec, machine, with_kv_type(model, options.kv_type), where)
    requests = serving.load()
    output = said.with_seed(options.seed or 0)
    cluster = _prepared(setting, options, policy, parameters, output)
    if not isinstance(cluster, Cluster):
        raise NoFeasiblePlan(f"no feasible plan: {shortfall(cluster)}")
    with output.waiting("serving requests"):
        run = serve(cluster, source_of(requests, output.seed, serving.requests))
    workload = ServedWorkload(name=serving.workload, source=requests.source, date=requests.date)
    record = serve_record(_command(options, policy, serving), setting, spec, workload, policy)
    result = serve_result(run, setting, record)
    page = serve_page(result, setting)
    warnings = (*run.warnings, *requests.notes(serving.requests))
    output.emit(
        result.model_dump(mode="json"),
        page,
        provenance=cluster.prices.provenance,
        warnings=warnings,
    )


def _prepared(
    setting: "ServingSetting",
    options: ScenarioOptions,
    policy: str | None,
    parameters: Mapping[str, str],
    output: Output,
) -> "Cluster | Misfit":
    from hwprofiles import InputError
    from sim.serving import prepare

    if policy is None:
        key = next(iter(parameters), None)
        if key is not None or options.routing is not None:
            raise InputError(
                f"{'--routing' if key is None else f'--set {key}'} needs --policy, which says where experts are"
            )
        return prepare(setting)
    # These load the simulator of steps, which serving without a policy does not need.
    from rosin.cli.settings import with_parameters
    from sim.policies import find_policy
    from sim.routing import load_routing
    from sim.serving.policy_prices import ServedPolicy, prepare_policy

    [chosen] = with_parameters([find_policy(policy)], parameters, setting.machine)
    routing = load_routing(options.routing, setting.model)
    served = ServedPolicy(policy=chosen, routing=routing, seed=options.seed or 0)
    with simulating("pricing steps", "fast", output):
        return prepare_policy(setting, served)


def _check(options: ScenarioOptions) -> None:
    from hwprofiles import InputError

    for name, reason in REFUSED.items():
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} does not go with --workload: {reason}")
    if options.engine != "fast":
        raise InputError("--engine does not go with --workload: serving has one engine")


def split_serving_settings(
    settings: Sequence[str],
) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """Return the assignments to the machine, as typed, to the serving file, and to the policy."""
    from hwprofiles import parse_yaml
    from rosin.cli.settings import split_settings

    overrides, others = split_settings(settings)
    changes = {
        # Read as a serving file is, so that numbers, truths and words are told apart.
        key: parse_yaml(value, f"--set {key}")
        for key, value in others.items()
        if key.partition(".")[0] in SPEC_PARTS
    }
    return overrides, changes, {key: value for key, value in others.items() if key not in changes}


def _tier_size(text: str) -> tuple[str, str | None]:
    from hwprofiles import InputError

    name, equals, size = text.partition("=")
    if not (name and equals and size):
        raise InputError(
            f"--kv-tier {text}: write NAME=SIZE, for example cpu=500GB or remote=unlimited"
        )
    return name, None if size == "unlimited" else size


def _command(options: ScenarioOptions, policy: str | None, serving: ServingOptions) -> str:
    """The command line that repeats the run."""
    words = ["simulate", *(("--policy", policy) if policy else ())]
    for item in fields(serving):
        value = getattr(serving, item.name)
        # Options that may be repeated are said once for each value.
        values = value if isinstance(value, list) else [] if value is None else [value]
        for each in values:
            words += [f"--{item.name.replace('_', '-')}", str(each)]
    return options.command(*words)
