"""A static policy run gate by gate: the tasks are those of the program that is lowered at once."""

from dataclasses import fields, replace

import numpy as np
import pytest

from sim.costs.memory import Residency
from sim.engine import engine
from sim.policies import POLICIES
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.prefetch.early import EarlyPrefetch
from sim.routing import uniform
from sim.routing.base import tokens_per_expert
from sim.step.lowering.decisions import decide
from sim.step.lowering.lower import lower
from sim.step.lowering.static_run import process, static_job
from sim.step.simulate import Scenario, problem_of
from sim.workload.batch import Batch, forward_passes
from tests.sim.small import MODELS, small_machine

EARLY = replace(
    POLICIES["on-demand"],
    name="early",
    dispatch=SpillDispatch(),
    prefetch=EarlyPrefetch(least_probability=0.9),
)
CASES = {
    **{name: POLICIES[name] for name in ("on-demand", "fiddler", "llama.cpp", "zero-streaming")},
    "early": EARLY,
}


@pytest.mark.parametrize("contender", ["fast", "reference"])
@pytest.mark.parametrize("name", CASES)
def test_tasks_are_those_lowered_at_once(name: str, contender: str) -> None:
    """Every column and every dependency is the same, on both engines, and so are the decisions."""
    policy = CASES[name]
    model = MODELS["dense-first-and-shared"]
    scenario = Scenario(
        machine=small_machine(1.7e6),
        model=model,
        batch=Batch(prompt_tokens=40, output_tokens=3, batch_size=2),
        policy=policy,
        routing=uniform(),
        seed=1,
    )
    problem = problem_of(scenario)
    residency = policy.placement.place(problem)
    assert isinstance(residency, Residency)
    passes = forward_passes(scenario.batch, policy.feeding)
    ids = scenario.routing.experts(model, 2, scenario.batch.context_tokens - 1, seed=1)
    tokens = tokens_per_expert(model, ids, passes)
    job = static_job(policy, problem, residency, passes)
    job.draft.sheet.tokens[:] = tokens
    found = engine(contender).run_process(job.platform, lambda session: process(job, session)).tasks
    decisions = decide(policy, problem, residency, passes, tokens)
    expected = lower(problem, passes, tokens, decisions).program.tasks
    for field in fields(expected):
        assert np.array_equal(getattr(found, field.name), getattr(expected, field.name)), field.name
    assert np.array_equal(job.decisions.actions, decisions.actions)
