"""Bounds on the mean over several draws: below every run's mean, and closing as draws grow."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import load_machine
from planner.bounds.draws import mean_bounds
from planner.bounds.shadow import mean_shadow_prices
from planner.search.make import bounds_of
from planner.search.objectives import Goal
from planner.search.search import Search, is_fixed, search
from sim.costs.memory import MemoryRule
from sim.model.library import load_model
from sim.policies import POLICIES
from sim.routing.generated import uniform
from sim.step.draws import seed_of
from sim.step.metrics import Metrics
from sim.step.simulate import Drawn, Run, Scenario, draw, problem_of, simulate
from sim.workload.batch import Batch
from tests.planner.instances import (
    RandomPlan,
    random_decisions,
    random_overlap,
    random_residency,
    run_plan,
    small_scenario,
)
from tests.planner.test_bounds import _is_within_memory

NUM_DRAWS = 3
RULE = MemoryRule()


def _with_seed(scenario: Scenario, number: int) -> Scenario:
    return replace(scenario, seed=seed_of(scenario.seed, number))


def _draws(scenario: Scenario, count: int = NUM_DRAWS) -> list[Drawn]:
    return [draw(_with_seed(scenario, number), scenario.policy.feeding) for number in range(count)]


def _mean_end_s(scenario: Scenario) -> float | None:
    """The scenario's mean over the draws; None where it does not fit, or exceeds the card."""
    runs = [simulate(_with_seed(scenario, number)) for number in range(NUM_DRAWS)]
    fitting = [
        run.metrics.end_to_end_s for run in runs if isinstance(run, Run) and _is_within_memory(run)
    ]
    return float(np.mean(fitting)) if len(fitting) == NUM_DRAWS else None


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40)
def test_no_mean_is_below_its_bound(seed: int) -> None:
    """On random models and machines: fixed plans stay above the static bound in the mean, all
    lossless ones above the clairvoyant one.
    """
    rng = np.random.default_rng(seed)
    base = small_scenario(rng, "on-demand")
    problem, draws = problem_of(base), _draws(base)
    bounds = mean_bounds(problem, draws)
    assert 0 <= bounds.clairvoyant_s <= bounds.static_s
    for policy in POLICIES.values():
        if policy.feeding != base.policy.feeding or not policy.is_lossless:
            continue
        mean_s = _mean_end_s(replace(base, policy=policy))
        if mean_s is not None:
            least_s = bounds.static_s if is_fixed(policy) else bounds.clairvoyant_s
            assert least_s <= mean_s * (1 + 1e-12), f"{policy.name}, seed {seed}"
    for _ in range(5):
        residency, streams = random_residency(rng, problem)
        overlap = random_overlap(rng)
        is_early, times = not streams and bool(rng.integers(2)), []
        for drawn in draws:
            early = (
                {"early_passes": drawn.passes.is_prefill, "buffers": overlap.staging_experts}
                if is_early
                else {}
            )
            plan = RandomPlan(
                residency=residency,
                decisions=random_decisions(rng, residency, drawn.tokens, streams=streams, **early),
            )
            times.append(run_plan(problem, drawn.passes, drawn.tokens, plan, overlap).end_to_end_s)
        assert bounds.static_s <= np.mean(times) * (1 + 1e-12), f"random plan, seed {seed}"


def _mixtral(*overrides: str) -> Scenario:
    return Scenario(
        machine=load_machine("desktop-rtx-4090-ddr5", overrides),
        model=load_model("mixtral-8x7b"),
        batch=Batch(prompt_tokens=16, output_tokens=17),
        policy=POLICIES["on-demand"],
        routing=uniform(),
    )


def test_foresight_fades_with_draws() -> None:
    """The more draws one placement has to serve, the higher the bound on their mean; the
    clairvoyant bound hardly moves.
    """
    scenario = _mixtral()
    draws = _draws(scenario, 24)
    found = [mean_bounds(problem_of(scenario), draws[:count], RULE) for count in (1, 6, 24)]
    assert found[0].static_s < found[1].static_s < found[2].static_s
    assert found[0].clairvoyant_s == pytest.approx(found[2].clairvoyant_s, rel=0.03)


def test_the_plan_is_near_its_bound() -> None:
    """On Mixtral under independent choices a fixed plan comes within 3 % of the best fixed
    placement for 24 draws of 32 tokens.
    """
    found = search(_mixtral(), Goal(), 24)
    assert isinstance(found, Search)
    gap = bounds_of(found)["gap_to_static_bound_fraction"]
    assert gap is not None and -0.01 < gap < 0.03


def test_no_fixed_rival_is_below_the_bound_of_a_plan() -> None:
    """A plan's static bound counts as much memory as any fixed system there holds, so it is below
    each of them, budgeted freely or not.
    """
    for seed in range(6):
        scenario = small_scenario(np.random.default_rng(8000 + seed), "on-demand")
        found = search(replace(scenario, batch=replace(scenario.batch, beams=1)), Goal(), NUM_DRAWS)
        if not isinstance(found, Search) or not found.best.scenario.policy.is_lossless:
            continue
        bounds = bounds_of(found)
        for rival in found.rivals:
            policy = POLICIES[rival.policy]
            if (
                isinstance(rival.outcome, Metrics)
                and rival.num_draws == found.num_draws
                and policy.feeding == found.policy.feeding
            ):
                least_s = (
                    bounds["static_bound_s"] if is_fixed(policy) else bounds["clairvoyant_bound_s"]
                )
                assert not policy.is_lossless or least_s <= rival.outcome.end_to_end_s * (1 + 1e-12)


def test_mean_shadow_prices_match_differences_of_the_bound() -> None:
    """A GB of memory and a GB/s of DRAM save what the bound on the larger machine says."""

    def given(*overrides: str) -> float:
        scenario = _mixtral(*overrides)
        return mean_bounds(problem_of(scenario), draws, RULE).static_s

    scenario = _mixtral()
    draws = _draws(scenario, 4)
    prices = mean_shadow_prices(
        problem_of(scenario), draws, RULE, mean_bounds(problem_of(scenario), draws, RULE)
    )
    memory = scenario.machine.gpu.memory_bytes.effective + 1e9 / RULE.usable_fraction
    dram = scenario.machine.cpu.memory_bytes_per_s.effective + 1e9
    now = given()
    assert prices["end_to_end_s_per_gpu_memory_gb"] == pytest.approx(
        given(f"gpu.memory_bytes={memory}") - now, rel=0.25
    )
    assert prices["end_to_end_s_per_dram_gb_per_s"] == pytest.approx(
        given(f"cpu.memory_bytes_per_s={dram}") - now, rel=0.25
    )
    assert prices["end_to_end_s_per_h2d_gb_per_s"] <= 0
