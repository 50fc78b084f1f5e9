"""A policy executed: every operation done for real, on its lane, where and when the policy says."""

import time

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
from validation.backend.executed import ExecutedRun, executed_of
from validation.backend.forward_pass import Sequences
from validation.backend.layer_steps import PassRun, StagedExperts
from validation.backend.pacing import quick_switching
from validation.backend.rehearsal import Rehearsal, foresight_of, rehearse
from validation.backend.streaming import LayerRing
from validation.backend.tier import Lanes, Tier, device_of, open_lanes
from validation.backend.weights import Weights


def execute_policy(
    policy: Policy,
    problem: Problem,
    residency: Residency,
    weights: Weights,
    prompts_SL: Tensor,
    *,
    tier: Tier,
    rehearsal: Rehearsal | None = None,
) -> ExecutedRun:
    """Run the batch of the problem under the policy, from that residency.

    Where a tier paces, durations are those of the problem's model on its machine; weights may be a
    stand-in with the same layers and experts. ``rehearsal`` is what prefetchers may look at (None:
    found out first, by a plain forward pass). Raises InputError for what the backend does not
    execute.
    """
    check_executable(policy, problem, residency, weights)
    passes = forward_passes(problem.batch, policy.feeding)
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
            run = StaticRun(policy, problem, residency, passes, weights, sequences, device)
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
        device: torch.device,
    ) -> None:
        self._problem = problem
        self._passes = passes
        self._weights = weights
        self._sequences = sequences
        self._dispatching = Dispatching(policy, problem, residency, passes)
        modes = self._dispatching.modes
        head_modes = self._dispatching.head_modes
        self._prices = price(problem, passes, modes, head_modes, int(passes.num_tokens.max()))
        self._memory = AcceleratorMemory(weights, residency, problem.overlap, device)
        shape = (len(passes), problem.model.num_layers, problem.model.num_experts)
        self._tokens = np.zeros(shape, np.int32)
        self._actions = np.zeros(shape, np.uint8)

    def execute(self, lanes: Lanes) -> ExecutedRun:
        """Pass after pass."""
        emission = Emission(lanes.lines)
        began_ns = time.perf_counter_ns()
        self._emit_all(emission)
        emission.finish()
        actions = self._actions
        dispatching = self._dispatching
        decisions = Decisions(
            actions=actions,
            modes=dispatching.modes,
            head_modes=dispatching.head_modes,
            spilled=dispatching.spilled(actions),
            early=dispatching.early_experts,
        )
        resources = platform(self._problem.machine, RESOURCES)
        return executed_of(
            emission.tickets,
            resources,
            began_ns,
            decisions,
            self._passes,
            self._tokens,
            self._sequences,
            lanes.is_paced,
        )

    def _emit_all(self, emission: Emission) -> None:
        is_serial = self._problem.overlap.is_serial(self._passes.is_prefill)
        streaming = LayerRing(
            emission,
            self._weights,
            self._memory,
            self._prices,
            self._passes,
            self._dispatching,
            is_serial,
        )
        staged = StagedExperts(self._memory.expert_buffers)
        on_gpu = True
        for index in range(len(self._passes)):
            emission.is_serial = bool(is_serial[index])
            emission.step = int(self._passes.step[index])
            current = PassRun(
                index,
                emission,
                streaming,
                staged,
                self._dispatching,
                self._prices,
                self._weights,
                self._memory,
                self._sequences,
                self._passes,
                is_on_gpu=on_gpu,
            )
            current.run(self._tokens[index], self._actions[index])
            on_gpu = current.is_on_gpu
