"""A conformance kit: what every policy must keep to, checked on a run.

``check_policy`` checks a third party's policy, too.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from hwprofiles import Machine
from hwprofiles.units import NS_PER_S
from sim.costs.memory import Infeasible, MemoryRule, usable_bytes
from sim.engine.task import NONE, TaskKind
from sim.model.model import Model
from sim.policies.policy import Policy
from sim.routing.generated import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.testing.decided import check_actions, check_bytes, check_expert_tasks
from sim.testing.timelines import check_copies, check_order, check_serial, check_timeline
from sim.workload.batch import Batch


def check_policy(
    policy: Policy,
    model: Model,
    machine: Machine,
    batch: Batch,
    **further: Any,
) -> Run | Infeasible:
    """Simulate the policy and run all CHECKS on it; return the run.

    ``further`` are other fields of Scenario. Experts are drawn uniformly unless ``further`` has a
    routing. Raises AssertionError with a reason.
    """
    asked = {"routing": uniform(), **further}
    scenario = Scenario(machine=machine, model=model, batch=batch, policy=policy, **asked)
    run = simulate(scenario)
    if isinstance(run, Infeasible):
        check_infeasible(scenario, run)
        return run
    for check in CHECKS:
        check(run)
    return run


def check_infeasible(scenario: Scenario, found: Infeasible) -> None:
    """Check that the reason is one line, and that ``missing_bytes`` is exact.

    With that many bytes more on the GPU the run is feasible, with fewer it is not. The machine's
    host memory must be unstated, so that it holds whatever the GPU does not.
    """
    assert found.reason and "\n" not in found.reason, (
        f"reason must be one line, got {found.reason!r}"
    )
    assert found.missing_bytes > 0, f"missing_bytes must be positive, got {found.missing_bytes}"
    assert scenario.machine.cpu.memory_bytes is None, (
        "check_infeasible needs a machine that states no host memory"
    )
    rule = memory_rule(scenario.policy)
    needed = usable_bytes(scenario.machine, rule) + found.missing_bytes
    # Rounding makes the smallest memory uncertain by a byte or two: it is looked for upwards.
    smallest = int(needed / rule.usable_fraction) - 2
    while usable_bytes(with_gpu_memory(scenario.machine, smallest), rule) < needed:
        smallest += 1
    enough = simulate(replace(scenario, machine=with_gpu_memory(scenario.machine, smallest)))
    assert isinstance(enough, Run), f"{found.missing_bytes} bytes more should do, but: {enough}"
    short = simulate(replace(scenario, machine=with_gpu_memory(scenario.machine, smallest - 1)))
    assert isinstance(short, Infeasible), (
        f"missing_bytes {found.missing_bytes} is too much: less is enough"
    )


def check_repeats(run: Run) -> None:
    """Check that a second run gives the same residency, decisions and timeline, on either engine."""
    # Both: the reference checks the fast engine, and each checks that nothing is left to chance.
    for engine in ("fast", "reference"):
        again = simulate(replace(run.scenario, engine=engine))
        assert isinstance(again, Run), f"engine {engine}: infeasible the second time"
        assert (again.residency.experts == run.residency.experts).all(), (
            f"engine {engine}: another residency"
        )
        assert (again.decisions.actions == run.decisions.actions).all(), (
            f"engine {engine}: other decisions"
        )
        assert again.timeline.digest == run.timeline.digest, (
            f"engine {engine}: digest {again.timeline.digest}, not {run.timeline.digest}"
        )


def check_memory(run: Run) -> None:
    """Check that the run's peak memory is within what the policy may fill.

    A policy is checked only if its memory rule budgets the KV cache and the activations.
    """
    rule = memory_rule(run.scenario.policy)
    # A rule that leaves them out of its budget, as a released system may, can exceed memory.
    if rule.budgets_kv and rule.budgets_activations:
        usable = usable_bytes(run.scenario.machine, rule)
        peak = run.metrics.peak_gpu_memory_bytes - run.memory_items["CUDA context"]
        assert peak <= usable, (
            f"peak memory {peak} exceeds the {usable} bytes that the policy may fill by {peak - usable}"
        )


def check_metrics(run: Run) -> None:
    """Check the metrics against the timeline and the decisions, counted another way."""
    metrics = run.metrics
    batch = run.scenario.batch
    tasks = run.timeline.tasks
    is_aside = np.isin(tasks.kind, (TaskKind.PREFETCH, TaskKind.EARLY_FETCH, TaskKind.LOOKUP))
    # A needless prefetch may go on after the last token, for which nobody waits.
    last_ns = int(run.timeline.end_ns[~is_aside].max())
    assert round(metrics.end_to_end_s * NS_PER_S) == last_ns, (
        "end_to_end_s is not the end of the last task, prefetches left out"
    )
    heads = run.timeline.end_ns[(tasks.kind == TaskKind.HEAD) & (tasks.step == 0)]
    assert len(heads) == 1 and metrics.ttft_s * NS_PER_S >= heads[0] - 1, (
        "the first token comes before its vocabulary projection"
    )
    total = metrics.ttft_s + (batch.output_tokens - 1) * metrics.tpot_s
    assert abs(total - metrics.end_to_end_s) < 1e-9 + 1e-12 * total, "ttft and tpot do not add up"
    assert 0.0 <= metrics.expert_hit_rate <= 1.0, f"hit rate {metrics.expert_hit_rate}"
    calls = metrics.cpu_expert_calls + metrics.gpu_expert_calls
    assert calls == int((run.tokens > 0).sum()) == int((tasks.kind == TaskKind.EXPERT).sum()), (
        "expert calls do not add up"
    )
    assert all(0.0 <= share <= 1.0 for share in metrics.utilization.values()), (
        f"utilization {metrics.utilization}"
    )
    assert (tasks.expert[tasks.kind == TaskKind.EXPERT] != NONE).all(), (
        "an EXPERT task without an expert"
    )


CHECKS = (
    check_actions,
    check_expert_tasks,
    check_bytes,
    check_timeline,
    check_order,
    check_serial,
    check_copies,
    check_memory,
    check_metrics,
    check_repeats,
)
"""The checks of ``check_policy`` on a run, in order."""


def memory_rule(policy: Policy) -> MemoryRule:
    """The rule of the policy's placement; the default one for a placement that names none."""
    rule = getattr(policy.placement, "memory", None)
    return rule if isinstance(rule, MemoryRule) else MemoryRule()


def with_gpu_memory(machine: Machine, num_bytes: int) -> Machine:
    """The machine with that much memory per GPU."""
    memory = machine.gpu.memory_bytes.model_copy(
        update={"value": float(num_bytes), "efficiency": None}
    )
    return machine.model_copy(
        update={"gpu": machine.gpu.model_copy(update={"memory_bytes": memory})}
    )
