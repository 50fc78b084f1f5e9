"""Small models executed by the backend, and the simulator's prediction for the very same routing.

Needs torch.
"""

from dataclasses import dataclass, replace

import torch

from sim.costs.memory import Infeasible, Residency
from sim.model.model import Model
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.routing import uniform
from sim.step.lowering.decisions import decide
from sim.step.lowering.lower import Lowered, lower
from sim.step.simulate import Scenario, problem_of
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine
from validation.backend import (
    ExecutedRun,
    RunInputs,
    Tier,
    Weights,
    architecture_of,
    execute_policy,
    random_weights,
    stand_in,
)
from validation.comparison.trial import as_executed

SHAPES = {name: stand_in(model) for name, model in MODELS.items()}
"""The odd shapes that policies have to cope with, as fp32 models that the backend builds exactly.
"""

BATCHES = {
    "one": Batch(prompt_tokens=5, output_tokens=4),
    "several": Batch(prompt_tokens=9, output_tokens=3, batch_size=3),
    "beams": Batch(prompt_tokens=5, output_tokens=4, batch_size=2, beams=3),
    "long-prompt": Batch(prompt_tokens=600, output_tokens=2),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A policy on a model: what is run, and from what residency."""

    policy: Policy
    problem: Problem
    residency: Residency
    weights: Weights
    prompts: torch.Tensor

    def run(self, *, tier: Tier = Tier.FREE) -> ExecutedRun:
        """The run."""
        inputs = RunInputs(weights=self.weights, prompts_SL=self.prompts)
        return execute_policy(self.policy, self.problem, self.residency, inputs, tier=tier)

    def predicted(self, executed: ExecutedRun) -> Lowered:
        """The simulator's program for the routing that the run's own router chose."""
        tokens = executed.tokens
        decisions = decide(self.policy, self.problem, self.residency, executed.passes, tokens)
        return lower(self.problem, executed.passes, tokens, decisions)


def case(
    policy: Policy,
    model: Model,
    batch: Batch,
    *,
    share: float = 0.5,
    seed: int = 0,
    overhead_ns: float = 500,
) -> Case:
    """The policy where GPU memory holds about that share of the experts."""
    routed = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    working = batch.num_sequences * (
        model.kv_bytes(batch.context_tokens) + batch.prompt_tokens * 4096
    )
    memory_bytes = (
        model.non_expert_bytes + working + 3 * model.expert_bytes + share * routed
    ) / 0.95
    machine = small_machine(memory_bytes, overhead_ns=overhead_ns, latency_ns=1000)
    policy = as_executed(policy, Tier.PACED)
    scenario = Scenario(
        machine=machine, model=model, batch=batch, policy=policy, routing=uniform(), seed=seed
    )
    problem = problem_of(scenario)
    residency = policy.placement.place(problem)
    if isinstance(residency, Infeasible):
        roomy = replace(
            scenario, machine=small_machine(1e9, overhead_ns=overhead_ns, latency_ns=1000)
        )
        problem = problem_of(roomy)
        residency = policy.placement.place(problem)
    assert isinstance(residency, Residency)
    weights = random_weights(architecture_of(model), seed)
    generator = torch.Generator().manual_seed(seed)
    prompts = torch.randint(
        model.vocab, (batch.batch_size, batch.prompt_tokens), generator=generator
    )
    return Case(
        policy=policy, problem=problem, residency=residency, weights=weights, prompts=prompts
    )
