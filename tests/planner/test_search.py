"""The search: never slower than a named system, the same every time, and a typed answer where nothing fits."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hwprofiles import InputError, Machine
from planner.candidates import candidates, named_systems
from planner.search import OBJECTIVES, Search, binding_resource, search
from sim.memory import Infeasible, weight_bytes
from sim.model import Model
from sim.policies import POLICIES
from sim.routing.generated import uniform
from sim.simulate import Run, Scenario, simulate
from sim.workload import Batch
from tests.sim.small import MODELS, small_machine

BATCHES = (
    Batch(prompt_tokens=5, output_tokens=4),
    Batch(prompt_tokens=40, output_tokens=3, batch_size=3),
    Batch(prompt_tokens=6, output_tokens=1),
)
SLOW_LINK, FAST_LINK = 5e8, 5e10


def _scenario(model: Model, machine: Machine, batch: Batch, policy: str = "on-demand", seed: int = 3) -> Scenario:
    return Scenario(machine=machine, model=model, batch=batch, policy=POLICIES[policy], routing=uniform(), seed=seed)


def _grid() -> Iterator[Scenario]:
    """Every shape of model on cards that hold part of it, behind a slow and a fast link, with overheads and without."""
    for number, model in enumerate(MODELS.values()):
        for share, rate in ((0.55, SLOW_LINK), (0.8, FAST_LINK)):
            machine = small_machine(share * model.total_bytes, rate, overhead_ns=1000 * (number % 2))
            yield from (_scenario(model, machine, batch) for batch in BATCHES)


def _name(scenario: Scenario) -> str:
    batch, machine = scenario.batch, scenario.machine
    return f"{scenario.model.name}-{machine.link.h2d.bytes_per_s.value:g}-{batch.batch_size}x{batch.prompt_tokens}+{batch.output_tokens}"


@pytest.mark.parametrize("scenario", list(_grid()), ids=_name)
def test_the_plan_is_never_slower_than_a_named_system(scenario: Scenario) -> None:
    """By every objective; each rival is what its own simulation gives, and none is left out."""
    alone = {name: simulate(replace(scenario, policy=policy)) for name, policy in POLICIES.items()}
    for objective, score in OBJECTIVES.items():
        found = search(scenario, objective)
        if isinstance(found, Infeasible):
            assert not any(isinstance(outcome, Run) for outcome in alone.values())
            continue
        assert {rival.policy for rival in found.rivals} == set(POLICIES)
        for rival in found.rivals:
            expected = alone[rival.policy]
            assert isinstance(expected, Run) == isinstance(rival.outcome, Run)
            if isinstance(expected, Run) and isinstance(rival.outcome, Run):
                assert rival.outcome.timeline.digest == expected.timeline.digest
                if expected.scenario.policy.is_lossless and not expected.scenario.policy.knows_future:
                    assert score(found.best.metrics) <= score(expected.metrics)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_is_that_of_all_tried(objective: str) -> None:
    """What is announced as tried is what is chosen from, each once."""
    seen: list[tuple[str, Run | Infeasible]] = []
    scenario = next(_grid())
    found = search(scenario, objective, lambda name, outcome: seen.append((name, outcome)))
    assert isinstance(found, Search)
    assert [name for name, _ in seen] == [policy.name for policies in (candidates(), named_systems()) for policy in policies]
    assert len(seen) == found.num_tried
    score = OBJECTIVES[objective]
    assert score(found.best.metrics) == min(score(outcome.metrics) for _, outcome in seen if isinstance(outcome, Run))
    feasible = [isinstance(rival.outcome, Run) for rival in found.rivals]
    assert feasible == sorted(feasible, reverse=True)
    scores = [score(rival.outcome.metrics) for rival in found.rivals if isinstance(rival.outcome, Run)]
    assert scores == sorted(scores)


def test_the_search_repeats() -> None:
    """The same scenario gives the same plan; its spelt-out placement gives the same timeline on either engine."""
    scenario = next(_grid())
    first, second = (search(scenario, "throughput") for _ in range(2))
    assert isinstance(first, Search) and isinstance(second, Search)
    assert first.best.scenario.policy == second.best.scenario.policy
    assert first.best.timeline.digest == second.best.timeline.digest
    for engine in ("fast", "reference"):
        again = simulate(replace(first.best.scenario, engine=engine))
        assert isinstance(again, Run)
        assert again.timeline.digest == first.best.timeline.digest


def test_the_plan_keeps_within_the_card() -> None:
    """Weights, KV cache, activations and copies in flight fit GPU memory."""
    for scenario in _grid():
        found = search(scenario, "latency")
        if isinstance(found, Search):
            assert found.best.metrics.peak_gpu_memory_bytes <= scenario.machine.gpu.memory_bytes.effective
            assert weight_bytes(scenario.model, found.best.residency) <= found.best.metrics.peak_gpu_memory_bytes


def test_nothing_fits() -> None:
    """Too small for even the least of them: the smallest shortage, with its reason."""
    scenario = _scenario(MODELS["plain"], small_machine(1000.0), BATCHES[0])
    found = search(scenario, "throughput")
    assert isinstance(found, Infeasible)
    policies = [policy for group in (candidates(), named_systems()) for policy in group]
    outcomes = [simulate(replace(scenario, policy=policy)) for policy in policies]
    assert all(isinstance(outcome, Infeasible) for outcome in outcomes)
    assert found.missing_bytes == min(outcome.missing_bytes for outcome in outcomes if isinstance(outcome, Infeasible))
    assert found.reason


def test_everything_fits() -> None:
    """On a card that holds the whole model, the plan is to keep it there."""
    found = search(_scenario(MODELS["plain"], small_machine(), BATCHES[0]), "throughput")
    assert isinstance(found, Search)
    assert found.best.residency.experts.all()
    assert binding_resource(found.best.metrics) == "gpu"


@pytest.mark.parametrize(("objective", "words"), [("cost", "price_usd"), ("thruput", "did you mean 'throughput'?")])
def test_objectives_that_are_not_there(objective: str, words: str) -> None:
    """One line that says what to set, or what was meant."""
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        search(next(_grid()), objective)
    assert words in str(caught.value)
