"""Closed form: no candidate beats its floor, and ruling out by floors changes no plan."""

from dataclasses import replace

import numpy as np
import pytest

from planner.search.candidates import candidates
from planner.search.floors import Floors
from planner.search.objectives import Goal
from planner.search.search import Search, search
from planner.search.ties import half_width, is_tied
from planner.search.trials import Trials
from sim.costs.memory import Residency
from sim.policies import POLICIES
from sim.step.simulate import Scenario
from tests.planner.test_search import NUM_DRAWS, _grid, _name

SCENARIOS = list(_grid())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=_name)
def test_no_run_beats_its_floor(scenario: Scenario) -> None:
    """Of every candidate and every named system that has a floor: its time to the first token, from
    there, and in all, over two draws.
    """
    trials, floors, number = Trials([scenario]), Floors(), 0
    for policy in (*candidates(scenario), *POLICIES.values()):
        trial = trials.start(policy, is_named=False)
        if not isinstance(trial.residency, Residency):
            continue
        draws = [trials.drawn(trial.policy.feeding, draw) for draw in range(2)]
        floor = floors.floor(trial.policy, trial.problem, trial.residency, draws)
        if floor is None:
            continue
        runs = [trials.whole_run(trial, draw).metrics for draw in range(2)]
        number += 1
        assert floor.ttft_s <= np.mean([run.ttft_s for run in runs])
        assert floor.decode_s <= np.mean([run.end_to_end_s - run.ttft_s for run in runs])
        assert floor.end_to_end_s <= np.mean([run.end_to_end_s for run in runs])
        assert floor.end_to_end_s >= floor.ttft_s
    assert number


@pytest.mark.parametrize("scenario", SCENARIOS[::4], ids=_name)
@pytest.mark.parametrize("objective", ["throughput", "ttft"])
def test_ruling_out_in_closed_form_changes_no_plan(scenario: Scenario, objective: str) -> None:
    """The same plan with it and without; with it, all candidates are accounted for."""
    goal = Goal(objective=objective)
    quick, full = (
        search(scenario, goal, NUM_DRAWS, has_closed_form=has_closed_form)
        for has_closed_form in (True, False)
    )
    assert type(quick) is type(full)
    if isinstance(quick, Search) and isinstance(full, Search):
        assert quick.best.timeline.digest == full.best.timeline.digest
        assert quick.policy == full.policy
        assert full.ruled_out.closed_form == 0
        assert quick.ruled_out.total < len(list(candidates(scenario)))


def test_closed_form_rules_something_out() -> None:
    """On a slow link, that what copies every miss cannot win needs no simulation."""
    ruled_out = [
        found.ruled_out.closed_form
        for found in (search(scenario, Goal(), 1) for scenario in SCENARIOS)
        if isinstance(found, Search)
    ]
    assert sum(ruled_out) > len(ruled_out)


def test_a_tie_needs_an_interval_with_zero_in_it_and_little_between_the_means() -> None:
    """Noise about the same mean is a tie; a small difference that every draw shows is none, nor is
    a large one that they do not settle.
    """
    draws = np.random.default_rng(0).normal(100.0, 5.0, 16)
    noise = np.random.default_rng(1).normal(0.0, 1.0, 16)
    assert is_tied(draws + noise - noise.mean() + 0.1, draws)
    assert not is_tied(draws + 0.1, draws)
    assert not is_tied(draws + 20 * noise - 20 * noise.mean() + 5.0, draws)
    assert is_tied(draws[:1], draws[:1]) and not is_tied(draws[:1] + 1e-9, draws[:1])


def test_the_interval_holds_in_nineteen_of_twenty() -> None:
    """Of 2,000 samples of four, the stated share covers the true mean."""
    samples = np.random.default_rng(2).normal(7.0, 2.0, (2000, 4))
    covered = [
        abs(float(np.mean(row)) - 7.0) <= (half_width(row.tolist()) or 0.0) for row in samples
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_scenarios_with_a_long_context_try_the_cache_in_host_memory() -> None:
    """Where the KV cache takes a share of the card, some candidates leave it in host memory; where
    it does not, none does.
    """
    scenario = SCENARIOS[0]
    model, batch = scenario.model, scenario.batch
    kv_bytes = batch.num_sequences * sum(
        model.layer_kv_bytes(layer, batch.context_tokens) for layer in range(model.num_layers)
    )
    for factor, is_tried in ((50, True), (500, False)):
        memory = scenario.machine.gpu.memory_bytes.model_copy(
            update={"value": float(factor * kv_bytes)}
        )
        gpu = scenario.machine.gpu.model_copy(update={"memory_bytes": memory})
        found = replace(scenario, machine=scenario.machine.model_copy(update={"gpu": gpu}))
        names = [policy.name for policy in candidates(found)]
        assert any("/kv0" in name for name in names) == is_tried
        assert len(set(names)) == len(names)
