"""`rosin kv-plan`: instances, tiers of KV and their rules for a workload."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.failures import Infeasible
from rosin.cli.options import JsonOption, QuantizationOption, QuietOption, SeedOption
from rosin.cli.output import Output
from rosin.cli.serving import RequestsOption, ServingOption, TierOption, split_serving_settings, tier_sizes

if TYPE_CHECKING:
    from planner.serving import ServingPlan, ServingQuestion
    from planner.serving_target import ServingTarget

ModelName = Annotated[str, typer.Option("--model", metavar="NAME", help="A model's name, or a model file; rosin models lists them.")]
MachineName = Annotated[
    str, typer.Option("--machine", metavar="NAME", help="A machine's name, or a machine file; rosin machines lists them.")
]
WorkloadName = Annotated[
    str, typer.Option("--workload", metavar="NAME|FILE", help="The requests: a request file (.yaml), a trace (.jsonl, .csv), or a name.")
]
ServedObjective = Annotated[
    str, typer.Option("--objective", metavar="WHAT", help="What to make best, on average: latency, ttft, tpot or throughput.")
]
TtftLimitOption = Annotated[
    float | None,
    typer.Option("--max-ttft", metavar="SECONDS", help="The fewest GPUs whose p90 of the time to first token is this.", show_default=False),
]
ItlLimitOption = Annotated[
    float | None,
    typer.Option(
        "--max-itl",
        metavar="SECONDS",
        help="The fewest GPUs whose p90 of a request's mean time between tokens is this.",
        show_default=False,
    ),
]
ServingFileOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the best as a serving file (.yaml).", show_default=False)
]


ChangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a number of the machine (link.h2d.bytes_per_s=50e9) or of the serving file (instance.kv_tokens=N); may be repeated.",
        show_default=False,
    ),
]
KvFileOption = Annotated[
    Path | None,
    typer.Option("--kv-file", metavar="FILE", help="Write the best's tiers for rosin export (.yaml); only cpu.", show_default=False),
]


def kv_plan(
    model: ModelName,
    machine: MachineName,
    workload: WorkloadName,
    requests: RequestsOption = None,
    serving: ServingOption = None,
    kv_tier: TierOption = None,
    objective: ServedObjective = "latency",
    max_ttft: TtftLimitOption = None,
    max_itl: ItlLimitOption = None,
    quantization: QuantizationOption = None,
    settings: ChangeOption = None,
    output_file: ServingFileOption = None,
    kv_file: KvFileOption = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Find how to serve a workload: instances and tiers of KV."""
    from hwprofiles import InputError, load_machine
    from planner.serving import ServingPlan, ServingQuestion, TargetMissed, plan_serving
    from rosin.report.serve_plan import missed
    from rosin.report.tables import shortfall
    from sim.model_library import load_model
    from sim.requests import load_requests
    from sim.serving.spec import load_serving

    overrides, changes, others = split_serving_settings(settings or ())
    if others:
        raise InputError(f"--set {next(iter(others))}: neither the machine nor a serving file has it")
    question = ServingQuestion(
        machine=load_machine(machine, overrides),
        model=load_model(model, quantization),
        requests=load_requests(workload),
        offered=load_serving(serving, changes, tier_sizes(kv_tier or ())),
        objective=objective,
        num_requests=requests,
        seed=seed,
        target=_target(max_ttft, max_itl),
    )
    output = Output(json=json, seed=seed, quiet=quiet)
    found = plan_serving(question, lambda label: output.note(f"trying {label}"))
    if not isinstance(found, ServingPlan):
        raise Infeasible(missed(found) if isinstance(found, TargetMissed) else f"no feasible plan: {shortfall(found)}")
    _write(found, question, output, output_file, kv_file)


def _target(max_ttft_s: float | None, max_itl_s: float | None) -> "ServingTarget | None":
    from planner.serving_target import ServingTarget

    target = ServingTarget(max_ttft_s=max_ttft_s, max_itl_s=max_itl_s)
    return None if target == ServingTarget() else target


def _write(found: "ServingPlan", question: "ServingQuestion", output: Output, output_file: Path | None, kv_file: Path | None) -> None:
    """The files that were asked for, and the page or JSON."""
    from hwprofiles import write_yaml
    from planner.kv_tiers import kv_tiers_of
    from rosin.report.serve_plan import plan_record, serve_plan_page

    if output_file is not None:
        write_yaml(found.best.spec.model_dump(mode="json", exclude_none=True), output_file)
    if kv_file is not None:
        write_yaml(kv_tiers_of(found.best.spec, question.requests.name).model_dump(mode="json", exclude_none=True), kv_file)
    paths = [None if file is None else str(file) for file in (output_file, kv_file)]
    result = plan_record(found, question, *paths)
    output.emit(
        result.model_dump(mode="json"), serve_plan_page(result), warnings=_warnings(found, question, writes_tiers=kv_file is not None)
    )


def _warnings(found: "ServingPlan", question: "ServingQuestion", *, writes_tiers: bool) -> list[str]:
    """What the best run warns of, and what a file of its tiers cannot say."""
    from sim.serving import Cluster, prepare
    from sim.serving.offload_options import Loading
    from sim.serving.setting import serving_setting

    cluster = prepare(serving_setting(found.best.spec, question.machine, question.model))
    found_warnings = list(cluster.prices.warnings) if isinstance(cluster, Cluster) else []
    if writes_tiers and found.best.spec.offload is not None and found.best.spec.offload.loading is Loading.CHEAPER:
        found_warnings.append("LMCache loads whatever it finds: that only what is cheaper is loaded is not in the file of tiers")
    return found_warnings
