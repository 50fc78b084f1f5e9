"""The static bound where the routing treats experts alike: below the mean over all renamings of the
experts, for every fixed plan.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import hypergeom

from planner.bounds.alike import missing_shares
from planner.bounds.draws import mean_bounds
from sim.model.model import Model
from sim.policies import POLICIES
from sim.policies.problem import Problem
from sim.routing.generated import GeneratedRouting, uniform
from sim.step.simulate import Drawn, Scenario, draw, problem_of
from tests.planner.instances import (
    MADE_UP,
    RandomPlan,
    random_decisions,
    random_overlap,
    random_residency,
    run_plan,
    small_batch,
    small_machine,
    small_model,
)

PLANS = 4


def _scenario(rng: np.random.Generator) -> Scenario:
    """A few layers of two or three experts, so that all renamings can be run."""
    model = small_model(rng, num_layers=int(rng.integers(1, 4)), experts=int(rng.integers(2, 4)))
    routing = replace(uniform(), kept=((0.0, float(rng.uniform(0, 0.8))),))
    machine = small_machine(rng, model)
    return Scenario(
        machine=machine,
        model=model,
        batch=small_batch(rng),
        policy=POLICIES["on-demand"],
        routing=routing,
    )


def _renamed(tokens: NDArray[np.int32], model: Model) -> Iterator[NDArray[np.int32]]:
    """The tokens with the experts of every MoE layer renamed, in every way."""
    for names in product(permutations(range(model.num_experts)), repeat=len(model.moe_layers)):
        renamed = tokens.copy()
        for layer, order in zip(model.moe_layers, names, strict=True):
            renamed[:, layer] = tokens[:, layer, list(order)]
        yield renamed


def _mean_s(
    rng: np.random.Generator, problem: Problem, drawn: Drawn, *, is_early: bool = False
) -> float:
    """A random fixed plan's mean over all renamings; what it does in a pass may change with what
    the pass selects.

    It may copy experts of the prompt ahead of their gates, if it streams no layer.
    """
    residency, streams = random_residency(rng, problem)
    overlap = random_overlap(rng)
    early = (
        {"early_passes": drawn.passes.is_prefill, "buffers": overlap.staging_experts}
        if is_early and not streams
        else {}
    )
    times = []
    for tokens in _renamed(drawn.tokens, problem.model):
        plan = RandomPlan(
            residency=residency,
            decisions=random_decisions(rng, residency, tokens, streams=streams, **early),
        )
        times.append(run_plan(problem, drawn.passes, tokens, plan, overlap).end_to_end_s)
    return float(np.mean(times))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40)
def test_no_fixed_plan_is_faster_over_all_renamings(seed: int) -> None:
    """On random models, machines and batches, whatever a plan with fixed residency does: its mean
    is not below the bound.
    """
    rng = np.random.default_rng(seed)
    scenario = _scenario(rng)
    problem, drawn = problem_of(scenario), draw(scenario, scenario.policy.feeding)
    bounds = mean_bounds(problem, [drawn], are_alike=True)
    assert 0 < bounds.clairvoyant_s <= bounds.static_s
    for number in range(2 * PLANS):
        found_s = _mean_s(rng, problem, drawn, is_early=number >= PLANS)
        assert found_s >= bounds.static_s * (1 - 1e-12)


def test_closer_than_a_bound_that_knows_the_draws() -> None:
    """Averaged over names, the bound never knows more than one for these very draws, so it lies
    higher in the mean over instances.
    """
    higher = []
    for seed in range(20):
        rng = np.random.default_rng(9500 + seed)
        scenario = _scenario(rng)
        given = problem_of(scenario), [draw(scenario, scenario.policy.feeding)]
        higher.append(mean_bounds(*given, are_alike=True).static_s / mean_bounds(*given).static_s)
    assert np.mean(higher) > 1.005


def test_missing_shares_are_hypergeometric() -> None:
    """Of 7 selected among 20 experts, r of them resident, so many are missing with the probability
    of drawing without replacement.
    """
    found = missing_shares(20, 7)
    assert found.shape == (8, 21)
    for resident in range(21):
        expected = hypergeom(20, 20 - resident, 7).pmf(np.arange(8))
        assert np.allclose(found[:, resident], expected, atol=1e-12)


def test_which_routing_treats_experts_alike() -> None:
    """Equal weights do, whatever is kept of the token before; unequal ones do not."""
    alike = GeneratedRouting(
        label="equal",
        stated_provenance=MADE_UP,
        weights=((2.0, 2.0), (1.0, 1.0)),
        kept=((0.0, 0.5),),
    )
    assert uniform().treats_experts_alike and alike.treats_experts_alike
    assert not replace(alike, weights=((2.0, 2.0), (1.0, 1.1))).treats_experts_alike
