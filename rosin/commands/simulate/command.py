"""`rosin simulate`: one model on one machine, one batch under one policy or a workload over time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rosin.cli.failures import Infeasible
from rosin.cli.options import JsonOption, PolicyOption, QuietOption
from rosin.cli.output import Output
from rosin.cli.scenario import (
    Request,
    ScenarioOptions,
    compiling,
    read_options,
    record_of,
    takes_scenario,
)
from rosin.cli.trace_options import TraceBlockOption, TraceTimeOption
from rosin.commands.simulate.runtime_command import (
    ContextOption,
    KvTypeOption,
    RuntimeArgsOption,
    RuntimeOption,
    RuntimeOptions,
    simulate_runtime,
)
from rosin.commands.simulate.serving_command import (
    ConcurrencyOption,
    RequestsOption,
    ServingOption,
    ServingOptions,
    TierOption,
    WorkloadOption,
    simulate_serving,
)

if TYPE_CHECKING:
    from sim.policies import Policy
    from sim.step.simulate import Run

TraceOption = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Write every task as a trace (.json) that ui.perfetto.dev opens.",
        show_default=False,
    ),
]


@takes_scenario
def simulate(
    options: ScenarioOptions,
    policy: PolicyOption = None,
    trace: TraceOption = None,
    workload: WorkloadOption = None,
    requests: RequestsOption = None,
    concurrency: ConcurrencyOption = None,
    serving: ServingOption = None,
    kv_tier: TierOption = None,
    trace_block_tokens: TraceBlockOption = None,
    trace_time_unit: TraceTimeOption = None,
    runtime: RuntimeOption = None,
    runtime_args: RuntimeArgsOption = None,
    context_tokens: ContextOption = None,
    kv_type: KvTypeOption = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Predict how fast a model runs a batch, or serves a workload."""
    served = ServingOptions(
        workload=workload,
        requests=requests,
        concurrency=concurrency,
        serving=serving,
        kv_tiers=kv_tier or (),
        trace_block_tokens=trace_block_tokens,
        trace_time_unit=trace_time_unit,
    )
    asked = RuntimeOptions(
        runtime=runtime, arguments=runtime_args, context_tokens=context_tokens, kv_type=kv_type
    )
    if runtime is not None:
        served.check_unused()
        _check_runtime(policy, trace, workload)
        return simulate_runtime(options, asked, json=json, quiet=quiet)
    asked.check_unused()
    if workload is None:
        served.check_unused()
        return simulate_batch(options, policy, trace, json=json, quiet=quiet)
    if trace is not None:
        from hwprofiles import InputError

        raise InputError("--trace writes the tasks of one batch; it does not go with --workload")
    return simulate_serving(options, policy, served, json=json, quiet=quiet)


def _check_runtime(policy: str | None, trace: Path | None, workload: str | None) -> None:
    """Refuse what does not go with a runtime. Raises InputError."""
    from hwprofiles import InputError

    said = {"--policy": policy, "--trace": trace, "--workload": workload}
    name = next((name for name, value in said.items() if value is not None), None)
    if name is not None:
        raise InputError(
            f"{name} does not go with --runtime, which is priced as one sequence by its own arguments"
        )


def simulate_batch(
    options: ScenarioOptions,
    policy: str | None,
    trace: Path | None,
    *,
    json: str | None,
    quiet: bool,
) -> None:
    """Predict one batch."""
    from hwprofiles.text_file import check_target
    from rosin.commands.simulate.document import run_result, run_warnings
    from rosin.commands.simulate.page import run_page
    from rosin.report.tables import shortfall
    from sim.step.draws import simulate_draws
    from sim.step.provenance import provenance_of
    from sim.step.simulate import Run

    if trace is not None:
        check_target(trace)
    request = read_options(options)
    [scenario] = request.scenarios([_policy(request, policy)])
    output = Output(json=json, seed=scenario.seed, quiet=quiet)
    with compiling(scenario.engine, output):
        run = simulate_draws(scenario, request.num_draws)
    if not isinstance(run, Run):
        raise Infeasible(f"no feasible plan: {shortfall(run)}")
    if trace is not None:
        _write_trace(run, trace)
    words = ("simulate", "--policy", policy) if policy else ("simulate",)
    provenance = provenance_of(run)
    result = run_result(
        run, provenance, record_of(request, scenario, options.command(*words), has_policy=True)
    )
    page, warnings = run_page(run, result, request.num_draws), run_warnings(run, provenance)
    output.emit(
        result.model_dump(mode="json"), page, provenance=provenance.weakest, warnings=warnings
    )


def _policy(request: Request, name: str | None) -> "Policy":
    """The policy of that name, or else the plan's. Raises InputError where neither is said."""
    from hwprofiles import InputError
    from sim.policies import find_policy

    if name is not None:
        return find_policy(name)
    if request.plan is None:
        raise InputError("missing option '--policy'; name one, or a plan with --plan")
    return request.plan.policy


def _write_trace(run: "Run", path: Path) -> None:
    """Write the timeline for a trace viewer, with the memory that copies occupy. Raises InputError
    when it cannot be written.
    """
    import numpy as np

    from sim.engine.trace import write_trace
    from sim.step.metrics import staged_bytes

    instants, staged = staged_bytes(run.timeline, run.scenario.policy.overlap.staging_layer_share)
    in_use = (
        np.concatenate([[0], instants]),
        np.concatenate([[0], staged]) + sum(run.memory_items.values()),
    )
    write_trace(run.timeline, path, counters={"GPU memory in use (bytes)": in_use})
