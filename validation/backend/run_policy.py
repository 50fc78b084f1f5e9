"""A policy executed: every operation done for real, on its lane, where and when the policy says."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwprofiles import InputError
from sim.lowering.decisions import Decisions
from sim.lowering.lower import RESOURCES, platform
from sim.lowering.prices import Prices, price
from sim.memory import Residency
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.timeline import Timeline
from sim.workload import Passes, forward_passes
from validation.backend.accelerator_memory import AcceleratorMemory
from validation.backend.dispatching import Dispatching
from validation.backend.emission import Emission
from validation.backend.forward_pass import Sequences
from validation.backend.layer_steps import PassRun, StagedExperts
from validation.backend.pacing import quick_switching
from validation.backend.streaming import Streaming
from validation.backend.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Executed:
    """A run that happened: its timeline, what was decided, and what came out.

    ``work_ns`` [task] is how long the real work took, ``submitted_ns`` when the task was given to its lane, ``lane_order`` its place
    among the tasks its lane served; ``logits_SV`` has one entry for each pass that gives tokens, ``expert_ids`` is as in Foresight.
    """

    timeline: Timeline
    decisions: Decisions
    passes: Passes
    tokens: NDArray[np.int32]
    expert_ids: NDArray[np.int16]
    logits_SV: tuple[Tensor, ...]
    tokens_SC: Tensor
    work_ns: NDArray[np.int64]
    submitted_ns: NDArray[np.int64]
    lane_order: NDArray[np.int64]


def execute_policy(
    policy: Policy, problem: Problem, residency: Residency, weights: Weights, prompts_SL: Tensor, *, is_paced: bool
) -> Executed:
    """Run the batch of the problem under the policy, from that residency.

    Durations are those of the problem's model on its machine; weights may be a stand-in with the same layers and experts. Unpaced, an
    operation lasts as long as it lasts. Raises InputError for what the backend does not execute.
    """
    check_executable(policy, problem, residency, weights)
    passes = forward_passes(problem.batch, policy.feeding)
    dispatching = Dispatching(policy, problem, residency, passes)
    prices = price(problem, passes, dispatching.modes, dispatching.head_modes, int(passes.num_tokens.max()))
    memory = AcceleratorMemory(weights, residency, problem.overlap)
    with quick_switching(), torch.inference_mode():
        sequences = Sequences(weights, problem.batch, prompts_SL)
        run = _Run(problem, passes, dispatching, prices, weights, memory, sequences, is_paced=is_paced)
        return run.execute()


def check_executable(policy: Policy, problem: Problem, residency: Residency, weights: Weights) -> None:
    """Raises InputError, in one line, for what the backend does not execute."""
    if not policy.keeps_residency or policy.prefetch.is_active:
        raise InputError(f"{policy.name}: the backend executes policies whose residency stays; this one caches or fetches ahead")
    if not policy.is_lossless:
        raise InputError(f"{policy.name}: the backend executes lossless policies")
    if problem.batch.beams > 1:
        raise InputError(f"the backend decodes greedily: beams must be 1, got {problem.batch.beams}")
    built = [(shape.num_experts, shape.top_k, shape.shared_intermediate > 0) for shape in weights.architecture.layers]
    asked = [(layer.num_experts, layer.top_k, "shared_expert" in layer.params) for layer in problem.model.layers]
    if built != asked:
        raise InputError(f"weights of {weights.architecture.name} have other layers or experts than {problem.model.name}")
    if residency.experts.shape != (len(asked), problem.model.num_experts):
        raise InputError(f"residency is for {residency.experts.shape} layers and experts, the model has {len(asked)}")


class _Run:
    """One run in progress."""

    def __init__(
        self,
        problem: Problem,
        passes: Passes,
        dispatching: Dispatching,
        prices: Prices,
        weights: Weights,
        memory: AcceleratorMemory,
        sequences: Sequences,
        *,
        is_paced: bool,
    ) -> None:
        self._problem, self._passes, self._dispatching, self._prices = problem, passes, dispatching, prices
        self._weights, self._memory, self._sequences, self._is_paced = weights, memory, sequences, is_paced
        shape = (len(passes), problem.model.num_layers, problem.model.num_experts)
        self._tokens, self._actions = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)

    def execute(self) -> Executed:
        """Pass after pass; the lanes are closed whatever happens."""
        emission = Emission(is_paced=self._is_paced)
        began_ns = time.perf_counter_ns()
        try:
            self._emit_all(emission)
        finally:
            emission.close()
        return self._executed(emission, began_ns)

    def _emit_all(self, emission: Emission) -> None:
        is_serial = self._problem.overlap.is_serial(self._passes.is_prefill)
        streaming = Streaming(emission, self._weights, self._memory, self._prices, self._passes, self._dispatching, is_serial)
        staged, on_gpu = StagedExperts(self._memory.expert_buffers), True
        for index in range(len(self._passes)):
            emission.is_serial, emission.step = bool(is_serial[index]), int(self._passes.step[index])
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

    def _executed(self, emission: Emission, began_ns: int) -> Executed:
        tickets = emission.tickets
        return Executed(
            timeline=emission.timeline(platform(self._problem.machine, RESOURCES), began_ns),
            decisions=Decisions(actions=self._actions, modes=self._dispatching.modes, head_modes=self._dispatching.head_modes),
            passes=self._passes,
            tokens=self._tokens,
            expert_ids=self._sequences.expert_ids,
            logits_SV=tuple(self._sequences.logits_SV),
            tokens_SC=self._sequences.tokens_SC,
            work_ns=np.array([ticket.worked_ns - ticket.start_ns for ticket in tickets], np.int64),
            submitted_ns=np.array([ticket.submitted_ns - began_ns for ticket in tickets], np.int64),
            lane_order=np.array([ticket.lane_order for ticket in tickets], np.int64),
        )
