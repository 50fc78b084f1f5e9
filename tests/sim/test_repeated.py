"""Layers that decode alike: one of each kind gives the metrics of the whole run, to the last bit."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hwprofiles import Machine
from planner.search.candidates import SPLIT, candidates
from sim.costs.memory import Residency
from sim.model.model import Model
from sim.policies import POLICIES, Policy
from sim.policies.placement.limits import placed
from sim.policies.prefetch.early import EarlyPrefetch
from sim.room import Rooms
from sim.routing import load_routing
from sim.step import repeated
from sim.step.repeated import metrics_drawn
from sim.step.simulate import Scenario, draw, problem_of, run_drawn, tuned
from sim.workload.batch import Batch
from tests.sim.small import MODELS, ODD_MODELS, quantity, small_machine

SLOWED = [
    {"slows": slows, "busy": busy, "rate_fraction": quantity(fraction)}
    for slows, busy, fraction in (("cpu", "h2d", 0.7), ("h2d", "cpu", 0.8), ("gpu", "h2d", 0.9))
]
ROOMS = Rooms()
"""All runs here use the same memory, one after another, and none sees what another left in it."""
SHARES = 0.5, 0.8
"""Of the model's bytes, what the card has room for."""


def _machines(model: Model) -> Iterator[Machine]:
    for share in SHARES:
        room = share * model.total_bytes + 2e6
        yield small_machine(room, 4e9, overhead_ns=900, latency_ns=700)
        yield small_machine(room, 30e9, overhead_ns=70, interference=SLOWED)


def _policies(scenario: Scenario) -> Iterator[Policy]:
    """Named systems and candidates, those that split misses also with copies ahead of the gates of
    a prompt.
    """
    yield from POLICIES.values()
    for policy in candidates(scenario):
        yield policy
        if policy.keeps_residency and policy.dispatch == SPLIT:
            yield replace(policy, prefetch=EarlyPrefetch(least_probability=0.5))


def _both(scenario: Scenario) -> bool:
    """Compare the short way with the long one; whether the short one was taken."""
    scenario = tuned(scenario)
    problem = problem_of(scenario)
    residency = placed(scenario.policy.placement, problem)
    if not isinstance(residency, Residency):
        return False
    drawn = draw(scenario, scenario.policy.feeding)
    whole = run_drawn(scenario, problem, residency, drawn).metrics
    found = metrics_drawn(scenario, problem, residency, drawn, ROOMS)
    assert found == whole, scenario.policy.name
    return repeated.repeats(scenario.policy, problem, residency, drawn.passes)


@pytest.mark.parametrize("model", [*MODELS.values(), *ODD_MODELS.values()], ids=lambda m: m.name)
def test_one_layer_of_each_kind_stands_for_all(model: Model) -> None:
    """Every policy and every candidate, with buffers few and many, in lanes and one thing at a time,
    where lanes slow each other down and where they do not.
    """
    num_short = 0
    for machine in _machines(model):
        scenario = Scenario(
            machine=machine,
            model=model,
            batch=Batch(prompt_tokens=600, output_tokens=9),
            policy=POLICIES["on-demand"],
            routing=load_routing(None, model),
            seed=3,
        )
        for policy in _policies(scenario):
            num_short += _both(replace(scenario, policy=policy))
    assert num_short


@pytest.mark.parametrize("batch", [Batch(prompt_tokens=3, output_tokens=6, batch_size=2)])
def test_several_tokens_at_once_are_run_as_they_are(batch: Batch) -> None:
    """Experts then have one token or two, so that no layer stands for another."""
    model = MODELS["plain"]
    scenario = Scenario(
        machine=next(_machines(model)),
        model=model,
        batch=batch,
        policy=POLICIES["on-demand"],
        routing=load_routing(None, model),
    )
    assert not any(_both(replace(scenario, policy=policy)) for policy in POLICIES.values())
