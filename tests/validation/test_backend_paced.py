"""Paced runs: their structure, not their time.

Every task ran once, on its lane, in order, after what it waits for.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from sim.engine import engine
from sim.engine.task import TaskKind
from sim.engine.timeline import Timeline
from sim.engine.trace import write_trace
from sim.policies import POLICIES, Policy
from sim.routing import uniform
from sim.step.simulate import Scenario
from sim.testing import check_timeline
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine
from tests.validation.backend_runs import BATCHES, SHAPES, case
from tests.validation.test_backend_policies import STATIC, check_tasks, check_tokens
from validation.backend import ExecutedRun, Tier
from validation.backend.pacing import sleep_until
from validation.comparison import (
    Contender,
    LaneCosts,
    PlanTrial,
    compare,
    fit_lane_costs,
    prepare,
    run_rounds,
    time_program_on_lanes,
)

FREE = LaneCosts(
    hand_over_ns=np.zeros(6),
    same_lane_ns=0,
    decision_ns=0,
    submission_ns=0,
    late_ns=0,
    is_paced=np.ones(6, bool),
    work_ns=np.full((6, len(TaskKind)), np.nan),
    scale=np.ones((6, len(TaskKind))),
)
"""Lanes that cost nothing."""


@pytest.mark.parametrize("policy", STATIC.values(), ids=STATIC)
@pytest.mark.parametrize("shape", ["plain", "dense-first-and-shared"])
def test_every_task_ran_once_on_its_lane(policy: Policy, shape: str) -> None:
    """In order, one at a time, after its dependencies, for no less than its time, with the bytes
    and the kinds of the simulator.
    """
    subject = case(policy, SHAPES[shape], BATCHES["several"], overhead_ns=100_000)
    executed = subject.run(tier=Tier.PACED)
    check_tasks(subject, executed)
    check_tokens(subject, executed)
    check_timeline(cast(Any, SimpleNamespace(timeline=executed.timeline)))
    tasks, line = executed.timeline.tasks, executed.timeline
    assert (line.end_ns - line.start_ns >= tasks.duration_ns).all()
    assert (executed.submitted_ns <= line.start_ns).all()
    for resource in range(len(line.platform.resources)):
        assert executed.lane_order[tasks.resource == resource].tolist() == list(
            range(int((tasks.resource == resource).sum()))
        )


def test_streamed_layers_are_submitted_ahead() -> None:
    """With two buffers the next layer's copy is on its way before the gate of this one is known, as
    in a program known beforehand.
    """
    executed = case(POLICIES["zero-streaming"], SHAPES["plain"], BATCHES["one"]).run()
    is_copy = executed.timeline.tasks.kind == TaskKind.LAYER_FETCH
    is_early = executed.submitted_ns < np.append(
        0, np.maximum.accumulate(executed.submitted_ns)[:-1]
    )
    assert is_early[is_copy].sum() > 0.5 * is_copy.sum() and not is_early[~is_copy].any()


def test_an_error_on_a_lane_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in an expert is raised where the run was asked for; no lane waits for ever."""
    subject = case(POLICIES["on-demand"], SHAPES["plain"], BATCHES["one"])

    def broken(*_: object) -> None:
        raise ArithmeticError("no such expert")

    monkeypatch.setattr("validation.backend.forward_pass.ForwardPass.run_expert", broken)
    with pytest.raises(ArithmeticError, match="no such expert"):
        subject.run()


def test_a_measured_timeline_opens_in_a_viewer(tmp_path: Path) -> None:
    """The trace has a slice for every task."""
    executed = case(POLICIES["fiddler"], SHAPES["plain"], BATCHES["one"]).run()
    write_trace(executed.timeline, tmp_path / "measured.json")
    events = json.loads((tmp_path / "measured.json").read_text())["traceEvents"]
    steps = next(event["tid"] for event in events if event.get("args") == {"name": "steps"})
    slices = [event for event in events if event["ph"] == "X" and event["tid"] != steps]
    assert len(slices) == len(executed.timeline.tasks)


def test_sleep_never_ends_early() -> None:
    """A paced task lasts at least its time."""
    for wait_ns in (0, 1_000, 200_000, 2_000_000):
        until_ns = time.perf_counter_ns() + wait_ns
        sleep_until(until_ns)
        assert time.perf_counter_ns() >= until_ns


@pytest.mark.parametrize("policy", STATIC.values(), ids=STATIC)
def test_lanes_that_cost_nothing_change_nothing(policy: Policy) -> None:
    """The program with coordinator and inboxes at no cost is the simulator's own where nothing is
    streamed ahead of a serial pass.
    """
    subject = case(policy, SHAPES["dense-first-and-shared"], BATCHES["several"])
    program = subject.predicted(subject.run()).program
    plain, on_lanes = engine("fast").run_program(program), time_program_on_lanes(program, FREE)
    assert on_lanes.makespan_ns == plain.makespan_ns
    assert np.array_equal(on_lanes.start_ns, plain.start_ns) and np.array_equal(
        on_lanes.end_ns, plain.end_ns
    )


def test_lane_costs_add_up_on_a_chain() -> None:
    """A serial run takes longer by its hand-overs, decisions, lateness and gaps, and by no more
    than that for every task.
    """
    subject = case(POLICIES["fiddler"], SHAPES["plain"], BATCHES["one"])
    program = subject.predicted(subject.run()).program
    costs = replace(
        FREE,
        hand_over_ns=np.full(6, 70_000.0),
        decision_ns=100_000.0,
        late_ns=10_000.0,
        same_lane_ns=2_000.0,
    )
    longer_ns = (
        time_program_on_lanes(program, costs).makespan_ns
        - engine("fast").run_program(program).makespan_ns
    )
    gates = int((program.tasks.kind == TaskKind.GATE).sum())
    assert (
        gates * 170_000 + len(program.tasks) * 12_000 <= longer_ns <= len(program.tasks) * 182_000
    )


def test_comparison_measures_what_it_says() -> None:
    """A run against its own times has no error; against times twice as long, an error of 1
    everywhere.
    """
    subject = case(POLICIES["on-demand"], SHAPES["plain"], BATCHES["one"])
    executed = subject.run(tier=Tier.PACED)
    line = executed.timeline
    own = compare(line, _as_predicted(executed, 1))
    assert (
        own.error_fraction == 0 and own.by_layer.p90_fraction == 0 and own.by_step.p90_fraction == 0
    )
    twice = compare(line, _as_predicted(executed, 2))
    assert (
        twice.error_fraction == 1
        and twice.by_step.median_fraction == 1
        and twice.by_layer.median_fraction == 1
    )
    assert twice.by_step.num_compared == subject.problem.batch.output_tokens
    assert twice.by_kind["expert"].num_compared == int((line.tasks.kind == TaskKind.EXPERT).sum())


def test_rounds_report_every_plan() -> None:
    """Each plan has a run a round and errors of three predictions; the simulator alone predicts no
    longer than it measures.
    """
    calibration, *trials = _trials("fiddler-v1", "on-demand", "ktransformers")
    report = run_rounds(tuple(trials), calibration, num_rounds=2)
    assert [plan.name for plan in report.plans] == ["on-demand", "ktransformers"]
    assert all(len(plan.runs) == 2 for plan in report.plans) and report.paired.num_compared == 4
    for run in (run for plan in report.plans for run in plan.runs):
        assert run.plain.predicted_ns <= run.plain.measured_ns
        assert run.plain.predicted_ns < run.paired.predicted_ns
    assert report.calibration_variation_fraction >= 0


def test_lane_costs_are_of_what_ran() -> None:
    """Every cost is a time, and work is known for the kinds that the calibration ran and for no
    others.
    """
    (trial,) = _trials("fiddler-v1")
    executed = trial.run()
    costs = fit_lane_costs(executed)
    assert min(*costs.hand_over_ns, costs.same_lane_ns, costs.decision_ns, costs.submission_ns) > 0
    tasks = executed.timeline.tasks
    ran = np.zeros(costs.work_ns.shape, bool)
    ran[tasks.resource, tasks.kind] = True
    assert np.array_equal(np.isfinite(costs.work_ns), ran)
    assert len(trial.predict(executed).plain().tasks) == len(tasks)


def _as_predicted(executed: ExecutedRun, factor: int) -> Timeline:
    line = executed.timeline
    return replace(line, start_ns=line.start_ns * factor, end_ns=line.end_ns * factor)


def _trials(*names: str) -> tuple[PlanTrial, ...]:
    scenario = Scenario(
        machine=small_machine(1e9, link_bytes_per_s=1e8, overhead_ns=1000),
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=4, output_tokens=3),
        policy=POLICIES[names[0]],
        routing=uniform(),
    )
    return prepare(
        scenario,
        tuple(Contender(name=name, policy=POLICIES[name], slots_per_layer=3) for name in names),
    )
