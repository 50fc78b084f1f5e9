"""The search: never slower than a named system, the same every time, and a typed answer where
nothing fits or meets the constraint.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from hwprofiles import InputError, Machine, load_machine
from planner.search.candidates import candidates, named_systems
from planner.search.objectives import OBJECTIVES, Goal
from planner.search.search import Search, SearchStopped, Unmet, binding_resource, search
from planner.search.steps import Step
from sim.costs.compute_buffers import compute_buffer_bytes
from sim.costs.memory import Infeasible, weight_bytes
from sim.model.library import load_model
from sim.model.model import Model
from sim.policies import POLICIES, Policy
from sim.routing.generated import uniform
from sim.step.draws import mean_metrics, seed_of, simulate_draws
from sim.step.metrics import Metrics
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine

BATCHES = (
    Batch(prompt_tokens=5, output_tokens=4),
    Batch(prompt_tokens=40, output_tokens=3, batch_size=3),
    Batch(prompt_tokens=6, output_tokens=1),
)
SLOW_LINK, FAST_LINK = 5e8, 5e10
NUM_DRAWS = 3


def _scenario(
    model: Model, machine: Machine, batch: Batch, policy: str = "on-demand", seed: int = 3
) -> Scenario:
    return Scenario(
        machine=machine,
        model=model,
        batch=batch,
        policy=POLICIES[policy],
        routing=uniform(),
        seed=seed,
    )


def _grid() -> Iterator[Scenario]:
    """Every shape of model on cards that hold part of it, behind a slow and a fast link, with
    overheads and without.
    """
    for number, model in enumerate(MODELS.values()):
        for share, rate in ((0.55, SLOW_LINK), (0.8, FAST_LINK)):
            for batch in BATCHES:
                tokens = batch.num_sequences * batch.prompt_tokens
                working = compute_buffer_bytes(model, tokens, batch.context_tokens, has_head=True)
                machine = small_machine(
                    share * model.total_bytes + working, rate, overhead_ns=1000 * (number % 2)
                )
                yield _scenario(model, machine, batch)


def _name(scenario: Scenario) -> str:
    batch, machine = scenario.batch, scenario.machine
    return f"{scenario.model.name}-{machine.link.h2d.bytes_per_s.value:g}-{batch.batch_size}x{batch.prompt_tokens}+{batch.output_tokens}"


def _alone(scenario: Scenario) -> dict[str, list[Run]]:
    """Every named system's own simulations of the draws; none where it does not fit."""
    found = {}
    for name, policy in POLICIES.items():
        runs = [
            simulate(replace(scenario, policy=policy, seed=seed_of(scenario.seed, number)))
            for number in range(NUM_DRAWS)
        ]
        found[name] = [run for run in runs if isinstance(run, Run)]
    return found


@pytest.mark.parametrize("scenario", list(_grid()), ids=_name)
def test_the_plan_is_never_slower_than_a_named_system(scenario: Scenario) -> None:
    """By every objective, on the same draws; each rival is what its own simulations give, and none
    is left out.
    """
    alone = _alone(scenario)
    for objective, score in OBJECTIVES.items():
        found = search(scenario, Goal(objective=objective, price_per_hour_usd=1.0), NUM_DRAWS)
        if isinstance(found, Infeasible):
            assert not any(alone.values())
            continue
        assert isinstance(found, Search)
        assert {rival.policy for rival in found.rivals} == set(POLICIES)
        for rival in found.rivals:
            runs = alone[rival.policy]
            assert isinstance(rival.outcome, Metrics) == bool(runs)
            if isinstance(rival.outcome, Metrics) and rival.plan_metrics:
                assert rival.outcome == mean_metrics(
                    [run.metrics for run in runs[: rival.num_draws]]
                )
                if _may_be_the_plan(POLICIES[rival.policy], rival.outcome, scenario):
                    assert score(rival.plan_metrics) <= score(rival.outcome)


def _may_be_the_plan(policy: Policy, outcome: Metrics, scenario: Scenario) -> bool:
    """Plans are lossless, know no future, let no CPU run what the GPU holds, and keep within the
    card.
    """
    if not policy.is_lossless or policy.knows_future or policy.dispatch.spills_residents:
        return False
    return outcome.peak_gpu_memory_bytes <= scenario.machine.gpu.memory_bytes.effective


def test_progress_names_the_best_so_far() -> None:
    """Steps tell what is done of how much; the best never gets worse while the draws are the same,
    and ends as the plan.
    """
    steps: list[Step] = []
    found = search(next(_grid()), Goal(), NUM_DRAWS, steps.append)
    assert isinstance(found, Search)
    assert all(0 < step.num_done <= step.num_in_all for step in steps)
    last = steps[-1]
    assert last.metrics is not None and last.metrics == found.best.metrics
    rates = [
        step.metrics.output_tokens_per_s
        for step in steps
        if step.metrics and step.doing in ("named systems", "candidates")
    ]
    assert rates == sorted(rates)


def test_rivals_stand_in_order() -> None:
    """The best first, then those that do not fit."""
    found = search(next(_grid()), Goal(), NUM_DRAWS)
    assert isinstance(found, Search)
    feasible = [isinstance(rival.outcome, Metrics) for rival in found.rivals]
    assert feasible == sorted(feasible, reverse=True)
    scores = [
        OBJECTIVES["throughput"](rival.outcome)
        for rival in found.rivals
        if isinstance(rival.outcome, Metrics)
    ]
    assert scores == sorted(scores)


def test_the_search_repeats() -> None:
    """The same scenario gives the same plan; its spelt-out placement gives the same figures over
    the draws, on either engine.
    """
    scenario = next(_grid())
    first, second = (search(scenario, Goal(), NUM_DRAWS) for _ in range(2))
    assert isinstance(first, Search) and isinstance(second, Search)
    assert first.best.scenario.policy == second.best.scenario.policy
    assert first.best.timeline.digest == second.best.timeline.digest
    for engine in ("fast", "reference"):
        again = simulate_draws(replace(first.best.scenario, engine=engine), NUM_DRAWS)
        assert isinstance(again, Run)
        assert (again.timeline.digest, again.metrics) == (
            first.best.timeline.digest,
            first.best.metrics,
        )


def test_the_first_draw_is_the_scenario_itself() -> None:
    """Draw 0 has the scenario's own seed, and others differ from it and from those of the next
    seeds.
    """
    seeds = [seed_of(seed, number) for seed in range(100) for number in range(32)]
    assert seed_of(7, 0) == 7
    assert len(set(seeds)) == len(seeds)


def test_the_interval_covers_the_mean() -> None:
    """Of searches over few draws, the stated 95 % interval has the long mean of the same plan in
    most.
    """
    scenario = replace(next(_grid()), batch=Batch(prompt_tokens=4, output_tokens=6))
    found = search(scenario, Goal(), 12)
    assert isinstance(found, Search) and found.half_width_s is not None
    long = simulate_draws(replace(found.best.scenario, seed=99), 120)
    assert isinstance(long, Run)
    assert (
        abs(long.metrics.end_to_end_s - found.best.metrics.end_to_end_s) <= 3 * found.half_width_s
    )


def test_the_plan_keeps_within_the_card() -> None:
    """Weights, KV cache, activations and copies in flight fit GPU memory."""
    for scenario in _grid():
        found = search(scenario, Goal(objective="latency"), NUM_DRAWS)
        if isinstance(found, Search):
            assert (
                found.best.metrics.peak_gpu_memory_bytes
                <= scenario.machine.gpu.memory_bytes.effective
            )
            assert (
                weight_bytes(scenario.model, found.best.residency)
                <= found.best.metrics.peak_gpu_memory_bytes
            )


def test_nothing_fits() -> None:
    """Too small for even the least of them: the smallest shortage, with its reason."""
    scenario = _scenario(MODELS["plain"], small_machine(1000.0), BATCHES[0])
    found = search(scenario, Goal(), NUM_DRAWS)
    assert isinstance(found, Infeasible)
    policies = [policy for group in (candidates(scenario), named_systems()) for policy in group]
    outcomes = [simulate(replace(scenario, policy=policy)) for policy in policies]
    assert all(isinstance(outcome, Infeasible) for outcome in outcomes)
    assert found.missing_bytes == min(
        outcome.missing_bytes for outcome in outcomes if isinstance(outcome, Infeasible)
    )
    assert found.reason


def test_everything_fits() -> None:
    """On a card that holds the whole model, the plan is to keep it there."""
    found = search(_scenario(MODELS["plain"], small_machine(), BATCHES[0]), Goal(), NUM_DRAWS)
    assert isinstance(found, Search)
    assert found.best.residency.experts.all()
    assert binding_resource(found.best.metrics) == "gpu"


def test_a_constraint_is_kept_or_the_best_reachable_is_said() -> None:
    """A limit between the quickest first token and that of the fastest plan gives a plan within it;
    one below gives the typed answer.
    """
    for scenario in _grid():
        fastest, quickest = (
            search(scenario, Goal(objective=objective), NUM_DRAWS)
            for objective in ("throughput", "ttft")
        )
        if not isinstance(fastest, Search) or not isinstance(quickest, Search):
            continue
        least_s = quickest.best.metrics.ttft_s
        limit_s = (least_s + fastest.best.metrics.ttft_s) / 2
        within = search(scenario, Goal(max_ttft_s=limit_s), NUM_DRAWS)
        assert isinstance(within, Search)
        assert within.best.metrics.ttft_s <= limit_s
        assert (
            within.best.metrics.output_tokens_per_s
            >= quickest.best.metrics.output_tokens_per_s * 0.9
        )
        beyond = search(scenario, Goal(max_ttft_s=least_s / 2), NUM_DRAWS)
        assert isinstance(beyond, Unmet)
        assert beyond.best_ttft_s == pytest.approx(least_s, rel=0.05)


def test_interrupted_at_any_point() -> None:
    """Ctrl-C after any step goes through; once a candidate has run it brings the best so far,
    marked as stopped.
    """
    scenario = next(_grid())
    steps: list[Step] = []
    search(scenario, Goal(), NUM_DRAWS, steps.append)
    for number in np.linspace(0, len(steps) - 1, 6).astype(int).tolist():
        stop = _StopAfter(number + 1)
        if steps[number].metrics is None:
            with pytest.raises(KeyboardInterrupt):
                search(scenario, Goal(), NUM_DRAWS, stop)
            continue
        with pytest.raises(SearchStopped) as caught:
            search(scenario, Goal(), NUM_DRAWS, stop)
        found = caught.value.best_so_far()
        assert isinstance(found, Search)
        assert found.is_stopped
        assert found.best.metrics == stop.seen[-1].metrics


class _StopAfter:
    """Ctrl-C at that step."""

    def __init__(self, count: int) -> None:
        self.count, self.seen = count, list[Step]()

    def __call__(self, step: Step) -> None:
        self.seen.append(step)
        if len(self.seen) == self.count:
            raise KeyboardInterrupt


def test_lossy_policies_only_where_they_are_allowed() -> None:
    """Pre-gated MoE changes tokens: it is a plan only with the constraint lifted, and never one
    that knows the future.
    """
    for scenario in _grid():
        strict, loose = (
            search(scenario, Goal(is_lossless=is_lossless), 1) for is_lossless in (True, False)
        )
        if isinstance(strict, Search) and isinstance(loose, Search):
            assert strict.best.scenario.policy.is_lossless
            assert not loose.best.scenario.policy.knows_future
            assert loose.best.metrics.output_tokens_per_s >= strict.best.metrics.output_tokens_per_s


@pytest.mark.parametrize(
    ("objective", "words"), [("cost", "price_usd"), ("thruput", "did you mean 'throughput'?")]
)
def test_objectives_that_are_not_there(objective: str, words: str) -> None:
    """One line that says what to set, or what was meant."""
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        search(next(_grid()), Goal(objective=objective), NUM_DRAWS)
    assert words in str(caught.value)


def test_fewer_draws_where_they_say_enough() -> None:
    """A search that may end early stops at the round whose best is known to within 0.15 %, and only
    then.
    """
    scenario = _scenario(
        load_model("qwen3-30b-a3b"),
        load_machine("desktop-rtx-4090-ddr5"),
        Batch(prompt_tokens=8, output_tokens=40),
    )
    found = search(scenario, Goal(), 200, may_end_early=True)
    assert isinstance(found, Search) and found.half_width_s is not None
    assert 4 < found.num_draws < 200
    assert found.half_width_s <= 0.0015 * found.best.metrics.end_to_end_s
    fewer = search(scenario, Goal(), found.num_draws // 4, may_end_early=True)
    assert isinstance(fewer, Search) and fewer.half_width_s is not None
    assert fewer.num_draws == found.num_draws // 4
    assert fewer.half_width_s > 0.0015 * fewer.best.metrics.end_to_end_s
