"""A plan made ready to be run and predicted."""

from dataclasses import dataclass, replace

import torch

from hwprofiles import InputError
from sim.memory import Infeasible, Residency
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.program import Program
from sim.simulate import Scenario, problem_of
from validation.backend.architecture import architecture_of, stand_in
from validation.backend.executed import Executed
from validation.backend.run_policy import check_executable, execute_policy
from validation.backend.tier import Tier
from validation.backend.weights import Weights, random_weights
from validation.comparison.prediction import predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A plan by name: a policy, and how many experts of each layer the GPU holds (None: as many as fit)."""

    name: str
    policy: Policy
    slots_per_layer: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """Everything that a run of one plan needs."""

    name: str
    policy: Policy
    problem: Problem
    residency: Residency
    weights: Weights
    prompts_SL: torch.Tensor

    def run(self) -> Executed:
        """One paced run."""
        return execute_policy(self.policy, self.problem, self.residency, self.weights, self.prompts_SL, tier=Tier.PACED)

    def predict(self, executed: Executed) -> Program:
        """The simulator's program for the routing of that run."""
        return predict(self.policy, self.problem, self.residency, executed)


def prepare(scenario: Scenario, contenders: tuple[Contender, ...], weights: Weights | None = None) -> tuple[Trial, ...]:
    """The contenders on the scenario's machine, model and batch, with the same weights for all: those given, or a small stand-in's.

    The scenario's seed draws the prompts, and the weights of a stand-in. Raises InputError for a plan that does not fit memory or that
    the backend does not execute.
    """
    batch = scenario.batch
    weights = weights or random_weights(architecture_of(stand_in(scenario.model)), scenario.seed)
    generator = torch.Generator().manual_seed(scenario.seed)
    prompts_SL = torch.randint(weights.architecture.vocab, (batch.batch_size, batch.prompt_tokens), generator=generator)
    return tuple(_prepared(scenario, contender, weights, prompts_SL) for contender in contenders)


def _prepared(scenario: Scenario, contender: Contender, weights: Weights, prompts_SL: torch.Tensor) -> Trial:
    own = replace(scenario, policy=contender.policy, slots_per_layer=contender.slots_per_layer)
    problem = problem_of(own)
    residency = contender.policy.placement.place(problem)
    if isinstance(residency, Infeasible):
        raise InputError(f"{contender.name}: {residency.reason}, {residency.missing_bytes} bytes are missing")
    check_executable(contender.policy, problem, residency, weights)
    return Trial(name=contender.name, policy=contender.policy, problem=problem, residency=residency, weights=weights, prompts_SL=prompts_SL)
