"""Policies whose residency changes, on real lanes: what is decided, evicted, fetched ahead, taken
back and overtaken.
"""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from sim.engine import engine
from sim.engine.task import TaskKind
from sim.policies import POLICIES
from sim.policies.actions import Action
from sim.policies.prefetch.learned import LearnedPrefetch
from sim.step.lowering.live_run import process
from sim.testing import check_timeline
from sim.workload.batch import Batch
from tests.sim.small import small_machine
from tests.validation.backend_runs import BATCHES, SHAPES, Case, case
from tests.validation.test_backend_policies import check_tokens
from validation.backend import ExecutedRun, Tier, rehearse
from validation.backend.cores import Worker
from validation.backend.priority_lane import PriorityLane
from validation.backend.real_run import job_of
from validation.backend.rehearsal import foresight_of
from validation.backend.ticket import Pace, TaskLabel, Ticket
from validation.comparison import compare, predict

COLUMNS = (
    "resource",
    "kind",
    "layer",
    "expert",
    "step",
    "duration_ns",
    "priority",
    "num_bytes",
    "num_chunks",
)
CLOCKLESS = ("lru", "lfu", "random", "belady", "mixtral-offloading")
"""Nothing is fetched ahead, so no decision depends on when copies arrive."""


@pytest.mark.parametrize("shape", ["plain", "dense-first-and-shared"])
@pytest.mark.parametrize("name", CLOCKLESS)
def test_decisions_are_the_simulators(name: str, shape: str) -> None:
    """Task for task what the reference engine is given for the same routing, dependencies included."""
    subject = case(POLICIES[name], SHAPES[shape], BATCHES["several"], share=0.4)
    executed = subject.run()
    check_tokens(subject, executed)
    job = job_of(
        subject.policy,
        foresight_of(subject.problem, subject.residency, executed.passes, _rehearsal(subject)),
    )
    job.sheet.tokens[:] = executed.tokens
    expected = (
        engine("reference").run_process(job.platform, lambda session: process(job, session)).tasks
    )
    measured = executed.timeline.tasks
    for column in COLUMNS:
        assert np.array_equal(getattr(measured, column), getattr(expected, column)), column
    for number in range(len(expected)):
        assert _waits(expected, number) <= _waits(measured, number), (
            f"task {number} does not wait for all that it must"
        )
    assert np.array_equal(executed.decisions.actions, job.sheet.actions)


@pytest.mark.parametrize(
    "name", ["lru", "mixtral-next-gate", "promoe", "fmoe", "moe-infinity", "hybrimoe"]
)
def test_every_task_ran_once_on_its_lane(name: str) -> None:
    """One at a time, after its dependencies, in the time it is priced at; every selected expert ran
    once; copies have their bytes.
    """
    subject = case(
        POLICIES[name], SHAPES["plain"], BATCHES["several"], share=0.4, overhead_ns=100_000
    )
    executed = subject.run(tier=Tier.PACED)
    check_tokens(subject, executed)
    _check_order(executed)
    tasks, line = executed.timeline.tasks, executed.timeline
    ran = ~line.is_dropped
    assert (line.busy_ns[ran] >= tasks.duration_ns[ran]).all() and (line.busy_ns[~ran] == 0).all()
    assert np.count_nonzero(tasks.kind == TaskKind.EXPERT) == np.count_nonzero(executed.tokens)
    copies = ran & np.isin(tasks.kind, (TaskKind.SLOT_FETCH, TaskKind.PREFETCH, TaskKind.FETCH))
    assert (tasks.num_bytes[copies] == subject.problem.model.expert_bytes).all()


def test_slow_links_meet_late_experts() -> None:
    """Where a copy takes longer than a layer, prefetches come late or are taken back, and tokens
    stay the same.
    """
    executed = _on_slow_link(POLICIES["moe-infinity"])
    line = executed.timeline
    assert line.is_dropped.any() and (executed.decisions.actions == Action.LATE).any()
    assert not line.tasks.num_bytes[line.is_dropped].any(), (
        "nothing was copied for what was taken back"
    )


def test_copies_on_demand_go_before_prefetches() -> None:
    """A prefetch in pieces is overtaken between them, by copies that were asked for after it had
    begun.
    """
    policy = replace(
        POLICIES["moe-infinity"],
        name="pieces",
        prefetch=LearnedPrefetch(accuracy=0.3, stride=2, num_chunks=4),
    )
    executed = _on_slow_link(policy)
    tasks, line = executed.timeline.tasks, executed.timeline
    fetches = np.flatnonzero(tasks.kind == TaskKind.SLOT_FETCH)
    overtaken = 0
    for number in np.flatnonzero((tasks.kind == TaskKind.PREFETCH) & ~line.is_dropped).tolist():
        inside = fetches[
            (line.start_ns[fetches] > line.start_ns[number])
            & (line.end_ns[fetches] < line.end_ns[number])
        ]
        overtaken += len(inside)
        assert (
            line.busy_ns[number] + line.busy_ns[inside].sum()
            <= line.end_ns[number] - line.start_ns[number]
        )
    assert overtaken > 0


def test_an_error_in_an_expert_ends_a_live_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised where the run was asked for; no lane waits for ever."""

    def broken(*_: object) -> None:
        raise ArithmeticError("no such expert")

    monkeypatch.setattr("validation.backend.forward_pass.ForwardPass.run_expert", broken)
    with pytest.raises(ArithmeticError, match="no such expert"):
        case(POLICIES["lru"], SHAPES["plain"], BATCHES["one"]).run()


def test_a_prediction_is_matched_task_by_task() -> None:
    """What both have is compared, whatever order they emitted it in; all of it where no decision
    depends on the clock.
    """
    subject = case(
        POLICIES["lru"], SHAPES["plain"], BATCHES["several"], share=0.4, overhead_ns=100_000
    )
    executed = subject.run(tier=Tier.PACED)
    prediction = predict(
        subject.policy, subject.problem, subject.residency, executed, _rehearsal(subject)
    )
    found = compare(executed.timeline, prediction.plain())
    assert found.unmatched_fraction == 0 and found.predicted_ns <= found.measured_ns
    assert found.by_kind["slot_fetch"].num_compared == np.count_nonzero(
        executed.timeline.tasks.kind == TaskKind.SLOT_FETCH
    )


def test_priority_lane_takes_the_most_urgent() -> None:
    """Of what is ready: by priority, then by number; what was promoted goes first, what was dropped
    never runs, nor what has begun is.
    """
    lane, order = PriorityLane("test", Pace.PADDED, Worker()), []
    tickets = [_ticket(number, priority, order) for number, priority in enumerate((5, 3, 3, 9, 4))]
    lane.submit(tickets[0])
    while not tickets[0].start_ns:
        time.sleep(0)
    for ticket in tickets[1:]:
        lane.submit(ticket)
    assert lane.promote(tickets[3], 0) and lane.drop(tickets[2])
    assert not lane.drop(tickets[0]) and not lane.promote(tickets[0], 0)
    lane.close()
    assert order == [0, 3, 1, 4] and tickets[2].is_dropped and tickets[2].busy_ns == 0


def _ticket(number: int, priority: int, order: list[int]) -> Ticket:
    def work() -> int:
        order.append(number)
        return 0

    return Ticket(1, TaskLabel(TaskKind.PREFETCH, expert=number), 20_000_000, priority, work)


def _on_slow_link(policy: Any) -> ExecutedRun:
    subject = case(
        policy,
        SHAPES["plain"],
        Batch(prompt_tokens=4, output_tokens=12),
        share=0.4,
        overhead_ns=100_000,
    )
    slow = small_machine(
        subject.problem.machine.gpu.memory_bytes.effective,
        link_bytes_per_s=5e6,
        overhead_ns=100_000,
    )
    subject = replace(subject, problem=replace(subject.problem, machine=slow))
    executed = subject.run(tier=Tier.PACED)
    check_tokens(subject, executed)
    _check_order(executed)
    return executed


def _check_order(executed: ExecutedRun) -> None:
    """After what it waits for, one at a time; between the pieces of a copy a real lane takes a
    breath, which the check does not know.
    """
    line, tasks = executed.timeline, executed.timeline.tasks
    if (tasks.num_chunks == 1).all():
        check_timeline(cast(Any, SimpleNamespace(timeline=line)))
    for number in np.flatnonzero(~line.is_dropped).tolist():
        assert (line.end_ns[list(_waits(tasks, number))] <= line.start_ns[number]).all(), (
            f"task {number} starts before what it waits for"
        )


def _rehearsal(subject: Case) -> Any:
    return rehearse(subject.weights, subject.problem, subject.prompts, 0)


def _waits(tasks: Any, number: int) -> set[int]:
    first, end = tasks.dependency_offsets[number : number + 2]
    return set(tasks.dependencies[first:end].tolist())
