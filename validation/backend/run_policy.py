"""A policy executed: every operation done for real, on its lane, where and when the policy says."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwprofiles import InputError
from sim.costs.memory import Residency
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.lower import RESOURCES, platform
from sim.step.lowering.prices import price
from sim.workload.batch import Passes, forward_passes
from validation.backend.accelerator_memory import AcceleratorMemory
from validation.backend.dispatching import Dispatching
from validation.backend.emission import Emission
from validation.backend.execute_live import LiveRun
from validation.backend.executed import ExecutedRun, LaneRecord, executed_of
from validation.backend.forward_pass import Sequences
from validation.backend.layer_steps import PassRun
from validation.backend.pacing import quick_switching
from validation.backend.rehearsal import Rehearsal, foresight_of, rehearse
from validation.backend.staged_experts import StagedExperts
from validation.backend.static_parts import StaticParts
from validation.backend.streaming import LayerRing
from validation.backend.tier import Lanes, Tier, device_of, open_lanes
from validation.backend.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunInputs:
    """The weights and prompts of a run, and what prefetchers may look at: a rehearsal of it (None:
    found out first, by a plain forward pass).
    """

    weights: Weights
    prompts_SL: Tensor
    rehearsal: Rehearsal | None = None


def execute_policy(
    policy: Policy, problem: Problem, residency: Residency, inputs: RunInputs, *, tier: Tier
) -> ExecutedRun:
    """Run the batch of the problem under the policy, from that residency.

    Where a tier paces, durations are those of the problem's model on its machine; weights may be a
    stand-in with the same layers and experts. Raises InputError for what the backend does not
    execute.
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
    with quick_switching(), torch.inference_mode():
        sequences = Sequences(weights, problem.batch, prompts_SL, device)
        if is_live and rehearsal is not None:
            run: LiveRun | StaticRun = LiveRun(
                policy,
                foresight_of(problem, residency, passes, rehearsal),
                weights,
                sequences,
                device,
            )
        else:
            run = StaticRun(policy, problem, residency, passes, weights, sequences)
        if device.type == "cuda":
            # buffers are filled on another stream than those that read them
            torch.cuda.synchronize()
        with open_lanes(tier, run.resources) as lanes:
            return run.execute(lanes)


def check_executable(
    policy: Policy, problem: Problem, residency: Residency, weights: Weights
) -> None:
    """Raises InputError, in one line, for what the backend does not execute."""
    if not policy.cache.is_static and policy.cache.score is None:
        raise InputError(
            f"{policy.name}: a cache with code of its own is not executed; a scored or a static one is"
        )
    if policy.cache.is_static and policy.prefetch.is_active:
        raise InputError(
            f"{policy.name}: prefetching needs a cache with a score, to say what makes room"
        )
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


class StaticRun:
    """One run of a policy whose residency stays."""

    resources = RESOURCES

    def __init__(
        self,
        policy: Policy,
        problem: Problem,
        residency: Residency,
        passes: Passes,
        weights: Weights,
        sequences: Sequences,
    ) -> None:
        self._problem = problem
        dispatching = Dispatching(policy, problem, residency, passes)
        most_tokens = int(passes.num_tokens.max())
        self._parts = StaticParts(
            passes=passes,
            sequences=sequences,
            weights=weights,
            memory=AcceleratorMemory(weights, residency, problem.overlap, sequences.device),
            dispatching=dispatching,
            prices=price(problem, passes, dispatching.modes, dispatching.head_modes, most_tokens),
        )
        shape = (len(passes), problem.model.num_layers, problem.model.num_experts)
        self._tokens = np.zeros(shape, np.int32)
        self._actions = np.zeros(shape, np.uint8)

    def execute(self, lanes: Lanes) -> ExecutedRun:
        """Run the passes one after another."""
        emission = Emission(lanes.lines)
        began_ns = time.perf_counter_ns()
        self._emit_all(emission)
        emission.finish()
        actions = self._actions
        dispatching = self._parts.dispatching
        decisions = Decisions(
            actions=actions,
            modes=dispatching.modes,
            head_modes=dispatching.head_modes,
            spilled=dispatching.spilled(actions),
            early=dispatching.early_experts,
        )
        seen = LaneRecord(
            tickets=emission.tickets,
            platform=platform(self._problem.machine, RESOURCES),
            began_ns=began_ns,
            is_paced=lanes.is_paced,
        )
        return executed_of(seen, decisions, self._parts.passes, self._tokens, self._parts.sequences)

    def _emit_all(self, emission: Emission) -> None:
        parts = self._parts
        is_serial = self._problem.overlap.is_serial(parts.passes.is_prefill)
        # One ring for all passes, because copies run ahead from one pass into the next.
        streaming = LayerRing(parts, emission, is_serial)
        staged = StagedExperts(parts.memory.expert_buffers)
        # Tokens are looked up where the first layer runs, so a run begins with nothing to move.
        on_gpu = True
        for index in range(len(parts.passes)):
            emission.is_serial = bool(is_serial[index])
            emission.step = int(parts.passes.step[index])
            current = PassRun(index, parts, emission, streaming, staged, is_on_gpu=on_gpu)
            current.run(self._tokens[index], self._actions[index])
            on_gpu = current.is_on_gpu
