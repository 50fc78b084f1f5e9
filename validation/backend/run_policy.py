"""Execute a policy: every operation runs for real, on its lane, where and when the policy says."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwprofiles import InputError
from sim.costs.memory import Residency
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.policies.together import check_parts
from sim.workload.batch import forward_passes
from validation.backend.executed import ExecutedRun
from validation.backend.forward_pass import Sequences
from validation.backend.pacing import steady_threads
from validation.backend.real_run import live_run, static_run
from validation.backend.rehearsal import Rehearsal, foresight_of, rehearse
from validation.backend.tier import Tier, device_of, open_lanes
from validation.backend.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunInputs:
    """The weights and prompts of a run, and a rehearsal for prefetchers to look at.

    Without a rehearsal, a run that needs one begins with a plain forward pass.
    """

    weights: Weights
    prompts_SL: Tensor
    rehearsal: Rehearsal | None = None


def execute_policy(
    policy: Policy, problem: Problem, residency: Residency, inputs: RunInputs, *, tier: Tier
) -> ExecutedRun:
    """Run the batch of the problem under the policy, from that residency.

    If the tier is paced, durations are those of the problem's model on its machine. Weights may be
    those of a stand-in with the same layers and experts. Raises InputError for a policy that the
    backend does not execute.
    """
    weights = inputs.weights
    prompts_SL = inputs.prompts_SL
    rehearsal = inputs.rehearsal
    check_executable(policy, problem, residency, weights)
    passes = forward_passes(problem.batch, policy.feeding)
    # Residents that change are decided gate by gate, by the clock.
    is_live = policy.cache.score is not None
    if is_live and rehearsal is None:
        rehearsal = rehearse(weights, problem, prompts_SL, seed=0)
    device = device_of(tier)
    with steady_threads(), torch.inference_mode():
        sequences = Sequences(weights, problem.batch, prompts_SL, device)
        if is_live and rehearsal is not None:
            foresight = foresight_of(problem, residency, passes, rehearsal)
            run = live_run(policy, foresight, weights, sequences)
        else:
            run = static_run(policy, problem, residency, passes, weights, sequences)
        if device.type == "cuda":
            # buffers are filled on another stream than those that read them
            torch.cuda.synchronize()
        with open_lanes(tier, run.platform.resources) as lanes:
            return run.execute(lanes)


def check_executable(
    policy: Policy, problem: Problem, residency: Residency, weights: Weights
) -> None:
    """Check that the backend can execute the policy. Raises InputError, one line, if it cannot."""
    if not policy.cache.is_static and policy.cache.score is None:
        raise InputError(
            f"{policy.name}: a cache with code of its own is not executed; a scored or a static one is"
        )
    check_parts(policy)
    if policy.cache.score is not None and not (residency.dense.all() and residency.has_head):
        raise InputError(
            f"{policy.name}: a cache of experts needs all else on the accelerator; its placement leaves layers elsewhere"
        )
    if policy.tuning is not None or policy.feeding.is_pipelined:
        raise InputError(
            f"{policy.name}: the backend executes layers one after another; this one pipelines them over micro-batches"
        )
    if policy.placement.is_remade or not policy.is_lossless:
        raise InputError(
            f"{policy.name}: the backend executes lossless policies that place experts once"
        )
    if problem.overlap.groups_experts:
        raise InputError(f"{policy.name}: the backend runs experts one by one, not in groups")
    if problem.overlap.hand_over_ns > 0:
        raise InputError(
            f"{policy.name}: the backend hands over to the CPU where it has experts to run, in no other layer"
        )
    built = [
        (shape.num_experts, shape.top_k, shape.shared_intermediate > 0)
        for shape in weights.architecture.layers
    ]
    asked = [
        (layer.num_experts, layer.top_k, "shared_expert" in layer.params)
        for layer in problem.model.layers
    ]
    if built != asked:
        raise InputError(
            f"weights of {weights.architecture.name} have other layers or experts than {problem.model.name}"
        )
    if residency.experts.shape != (len(asked), problem.model.num_experts):
        raise InputError(
            f"residency is for {residency.experts.shape} layers and experts, the model has {len(asked)}"
        )
