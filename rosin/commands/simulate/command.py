"""`rosin simulate`: one batch under one policy, a workload over time, or a runtime."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.memory_guard import refuse_large_run
from rosin.cli.named_option import named, written
from rosin.cli.option_groups import OptionGroup
from rosin.cli.options import PolicyOption
from rosin.cli.output import OutputOptions
from rosin.cli.scenario import (
    ScenarioOptions,
    ScenarioRequest,
    read_options,
    record_of,
    simulating,
)
from rosin.commands.simulate.runtime_command import (
    RuntimeOptions,
    simulate_runtime,
    simulate_runtime_plan,
)
from rosin.commands.simulate.serving_command import (
    ServingOptions,
    simulate_serving,
)
from rosin.version import __version__

if TYPE_CHECKING:
    from rosin.cli.waiting import Waiting
    from rosin.report.json_documents import ScenarioRecord, SimulateResult
    from sim.policies import Policy
    from sim.step.long import LongRun
    from sim.step.parts import Part
    from sim.step.provenance import RunProvenance
    from sim.step.simulate import Run, Scenario

PREDICTED = "the program to predict"
SERVED = "the requests to serve"

TraceOption = Annotated[
    Path | None,
    named(
        "--trace",
        "FILE",
        "Write every task as a trace that ui.perfetto.dev opens: .pftrace, or .json for Chrome's viewer too.",
    ),
]
PolicyPlanOption = Annotated[
    Path | None,
    written(
        "FILE",
        "Write the policy in this setting as a plan (.yaml), which validate and calibrate run.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files(OptionGroup):
    """The files that are written for one batch, besides the JSON."""

    trace: TraceOption = None
    output_file: PolicyPlanOption = None

    @property
    def are_none(self) -> bool:
        """Return whether no file is written, so that a long run need not keep all its tasks."""
        return self.trace is None and self.output_file is None

    def check(self) -> None:
        """Raise InputError, before any work, for a file that cannot be written."""
        from hwprofiles.text_file import check_yaml_target
        from sim.engine.trace import check_trace

        if self.trace is not None:
            check_trace(self.trace)
        if self.output_file is not None:
            check_yaml_target(self.output_file, "a plan file")

    def check_unused(self, option: str) -> None:
        """Raise InputError for ``--trace`` or ``-o``, which do not go with ``option``.

        Both write one batch, and ``option`` runs something else.
        """
        from hwprofiles import InputError

        for name, path in (("--trace", self.trace), ("-o", self.output_file)):
            if path is not None:
                raise InputError(f"{name} writes one batch; it does not go with {option}")

    def write(self, run: "Run", request: ScenarioRequest, provenance: "RunProvenance") -> None:
        """Write the files that were asked for. Raises InputError if one cannot be written."""
        if self.trace is not None:
            from rosin.commands.simulate.trace import write_run_trace

            write_run_trace(run, self.trace)
        if self.output_file is not None:
            from planner.search.named_plan import named_plan
            from planner.search.plan import save_plan

            save_plan(named_plan(request.setting, run, provenance, __version__), self.output_file)


def simulate(
    *,
    options: ScenarioOptions,
    policy: PolicyOption = None,
    files: _Files,
    served: ServingOptions,
    asked: RuntimeOptions,
    said: OutputOptions,
) -> None:
    """Predict how fast a model runs a batch, or serves a workload."""
    if asked.runtime is None and options.plan is not None:
        # A plan file says by itself whether it is for a runtime, so --runtime need not be named.
        from planner.runtimes.plan_file import is_runtime_plan

        if is_runtime_plan(options.plan):
            asked.refuse_without("--runtime", PREDICTED)
            served.refuse_without("--workload", SERVED)
            _check_runtime(policy, files, served.workload)
            return simulate_runtime_plan(options, said)
    if asked.runtime is not None:
        served.refuse_without("--workload", SERVED)
        _check_runtime(policy, files, served.workload)
        return simulate_runtime(options, asked, said)
    asked.refuse_without("--runtime", PREDICTED)
    if served.workload is None:
        served.refuse_without("--workload", SERVED)
        return simulate_batch(options, policy, files, said)
    files.check_unused("--workload")
    return simulate_serving(options, policy, served, said)


def _check_runtime(policy: str | None, files: _Files, workload: str | None) -> None:
    """Raise InputError for an option that does not go with a runtime."""
    from hwprofiles import InputError

    files.check_unused("--runtime")
    said = {"--policy": policy, "--workload": workload}
    name = next((name for name, value in said.items() if value is not None), None)
    if name is not None:
        raise InputError(
            f"{name} does not go with --runtime, which is priced as one sequence by its own arguments"
        )


def simulate_batch(
    options: ScenarioOptions, policy: str | None, files: _Files, said: OutputOptions
) -> None:
    """Simulate one batch and print the result."""
    from rosin.commands.simulate.document import run_warnings
    from rosin.commands.simulate.page import run_page

    files.check()
    request = read_options(options)
    [scenario] = request.scenarios([_policy(request, policy)], keeps_totals=files.are_none)
    output = said.with_seed(scenario.seed)
    words = ("simulate", "--policy", policy) if policy else ("simulate",)
    record = record_of(request, scenario, options.command(*words), has_policy=True)
    with simulating("simulating", scenario.engine, output) as waiting:
        # Files need every task, so only a run without them may come apart.
        simulated = _simulated_long(request, scenario, record, waiting) if files.are_none else None
        run, provenance, result = simulated or _simulated(request, scenario, record, files)
    output.emit(
        result.model_dump(mode="json"),
        run_page(run, result, request.num_draws),
        provenance=provenance.weakest,
        warnings=run_warnings(run, provenance),
    )


def _simulated(
    request: ScenarioRequest, scenario: "Scenario", record: "ScenarioRecord", files: _Files
) -> tuple["Run", "RunProvenance", "SimulateResult"]:
    """Run the scenario and keep all its tasks. Raises NoFeasiblePlan if the model does not fit."""
    from rosin.commands.simulate.document import run_result
    from rosin.report.tables import shortfall
    from sim.step.draws import simulate_draws
    from sim.step.provenance import provenance_of
    from sim.step.simulate import Run

    run = simulate_draws(scenario, request.num_draws)
    if not isinstance(run, Run):
        raise NoFeasiblePlan(f"no feasible plan: {shortfall(run)}")
    provenance = provenance_of(run)
    files.write(run, request, provenance)
    return run, provenance, run_result(run, provenance, record)


def _simulated_long(
    request: ScenarioRequest, scenario: "Scenario", record: "ScenarioRecord", waiting: "Waiting"
) -> tuple["LongRun", "RunProvenance", "SimulateResult"] | None:
    """Run a long scenario part by part.

    Returns None for a scenario that is not long, or that cannot be simulated in parts. Raises
    NoFeasiblePlan if the model does not fit.
    """
    from rosin.commands.simulate.long import PartsSeen
    from rosin.report.tables import shortfall
    from sim.step.long import LongRun, is_long, simulate_long

    # A mean over draws needs the runs as a whole.
    if request.num_draws > 1 or not is_long(scenario):
        return None
    seen = PartsSeen()
    num_tokens = scenario.batch.output_tokens

    def look(part: "Part") -> None:
        """Add up the figures of a part, and show how far the run is."""
        seen.look(part)
        waiting.step(f"simulating, {part.passes.step[-1] + 1:,} of {num_tokens:,} tokens")

    run = simulate_long(scenario, look)
    if run is None:
        # It does not come apart, so all of it has to fit, which has not been asked yet.
        refuse_large_run(scenario)
        return None
    if not isinstance(run, LongRun):
        raise NoFeasiblePlan(f"no feasible plan: {shortfall(run)}")
    provenance = seen.provenance(run)
    return run, provenance, seen.result(run, provenance, record)


def _policy(request: ScenarioRequest, name: str | None) -> "Policy":
    """Return the policy of that name, or the plan's. Raises InputError without either."""
    from hwprofiles import InputError
    from sim.policies import find_policy

    if name is not None:
        return find_policy(name)
    if request.plan is None:
        raise InputError("missing option '--policy'; name one, or a plan with --plan")
    return request.plan.policy
