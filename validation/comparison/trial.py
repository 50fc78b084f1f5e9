"""A plan prepared for running and predicting."""

from dataclasses import dataclass, replace

import torch

from hwprofiles import InputError, Machine, Quantity
from hwprofiles.units import format_bytes
from sim.costs.memory import Infeasible, Residency
from sim.policies.overlap import Overlap
from sim.policies.placement.limits import placed
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.simulate import Scenario, problem_of
from validation.backend.architecture import architecture_of, stand_in
from validation.backend.executed import ExecutedRun
from validation.backend.rehearsal import Rehearsal, random_prompts, rehearse
from validation.backend.run_policy import RunInputs, check_executable, execute_policy
from validation.backend.tier import Tier
from validation.backend.weights import Weights, random_weights
from validation.comparison.prediction import Prediction, predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A plan by name: a policy, and how many experts of each layer the GPU holds.

    None stands for as many experts as fit.
    """

    name: str
    policy: Policy
    slots_per_layer: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanTrial:
    """Everything that a run of one plan needs."""

    name: str
    policy: Policy
    problem: Problem
    residency: Residency
    weights: Weights
    prompts_SL: torch.Tensor
    tier: Tier
    rehearsal: Rehearsal | None = None

    def run(self) -> ExecutedRun:
        """Run the plan once, and return what was executed."""
        return execute_policy(
            self.policy,
            self.problem,
            self.residency,
            RunInputs(weights=self.weights, prompts_SL=self.prompts_SL, rehearsal=self.rehearsal),
            tier=self.tier,
        )

    def predict(self, executed: ExecutedRun) -> Prediction:
        """Return the simulator's prediction for the routing of that run."""
        return predict(self.policy, self.problem, self.residency, executed, self.rehearsal)


def prepare(
    scenario: Scenario,
    contenders: tuple[Contender, ...],
    weights: Weights | None = None,
    tier: Tier = Tier.PACED,
    rehearsal: Rehearsal | None = None,
) -> tuple[PlanTrial, ...]:
    """Return the contenders on the scenario's machine, model and batch, ready to run.

    All have the same weights: those given, or a small stand-in's. The scenario's seed draws the
    prompts, and the weights of a stand-in. If operations are real, the machine's software overheads
    are left out: the lanes have their own, which are fitted. ``rehearsal`` is of the same weights
    and batch, if there is one. Raises InputError for a plan that does not fit memory or that the
    backend does not execute.
    """
    scenario = (
        scenario
        if tier is Tier.PACED
        else replace(scenario, machine=_without_overheads(scenario.machine))
    )
    # Where operations are slept out, only their order and tokens matter, so small weights do.
    weights = weights or random_weights(architecture_of(stand_in(scenario.model)), scenario.seed)
    prompts_SL = random_prompts(weights, scenario.batch, scenario.seed)
    trials = tuple(
        _prepared(scenario, contender, weights, prompts_SL, tier) for contender in contenders
    )
    # Only residents that change need a rehearsal, which is a whole forward pass.
    if all(trial.policy.cache.score is None for trial in trials):
        return trials
    rehearsal = rehearsal or rehearse(weights, trials[0].problem, prompts_SL, scenario.seed)
    return tuple(replace(trial, rehearsal=rehearsal) for trial in trials)


def why_not(scenario: Scenario, contender: Contender, weights: Weights) -> str | None:
    """Return in one line why a contender does not fit or is not executed, or None if it can run."""
    try:
        # Whether it fits does not hang on prompts or lanes.
        _prepared(scenario, contender, weights, torch.empty(0), Tier.PACED)
    except InputError as error:
        return str(error).removeprefix(f"{contender.policy.name}: ")
    return None


def as_executed(policy: Policy, tier: Tier) -> Policy:
    """Return the policy as the backend runs it: one expert after another, by kernels launched
    singly.

    If operations are real, copies start from page-locked memory, where the backend's weights are.
    """
    if not isinstance(policy.overlap, Overlap):
        return policy
    is_pinned = policy.overlap.is_pinned or tier is not Tier.PACED
    overlap = replace(
        policy.overlap, groups_experts=False, captures_graphs=False, is_pinned=is_pinned
    )
    return replace(policy, overlap=overlap)


def _without_overheads(machine: Machine) -> Machine:
    def none(quantity: Quantity) -> Quantity:
        """Return the quantity with the value 0."""
        return quantity.model_copy(update={"value": 0})

    host = machine.host
    changed = {
        "layer_overhead_ns": none(host.layer_overhead_ns),
        "step_overhead_ns": none(host.step_overhead_ns),
    }
    return machine.model_copy(update={"host": host.model_copy(update=changed)})


def _prepared(
    scenario: Scenario, contender: Contender, weights: Weights, prompts_SL: torch.Tensor, tier: Tier
) -> PlanTrial:
    policy = as_executed(contender.policy, tier)
    own = replace(scenario, policy=policy, slots_per_layer=contender.slots_per_layer)
    problem = problem_of(own)
    residency = placed(policy.placement, problem)
    if isinstance(residency, Infeasible):
        raise InputError(
            f"{contender.name}: {residency.reason}, {format_bytes(residency.missing_bytes)} too much"
        )
    check_executable(policy, problem, residency, weights)
    return PlanTrial(
        name=contender.name,
        policy=policy,
        problem=problem,
        residency=residency,
        weights=weights,
        prompts_SL=prompts_SL,
        tier=tier,
    )
