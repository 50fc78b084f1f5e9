"""What a policy decides while it runs: the parts and compiled rules of the simulator, asked about
what the real router chose.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies.actions import Action, LayerMode
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.lowering.decisions import spilled_of, weighing_of
from sim.step.lowering.early import Early, early_of
from sim.step.lowering.misses import decide_misses
from sim.workload.batch import Passes

_DECIDE: Any = decide_misses  # compiled code has no types


class Dispatching:
    """Modes of layers and of the vocabulary projection, and an action for every expert of a layer
    once its gate is known.
    """

    def __init__(
        self, policy: Policy, problem: Problem, residency: Residency, passes: Passes
    ) -> None:
        self.modes = np.ascontiguousarray(policy.dispatch.layer_modes(residency, passes.num_tokens))
        self.head_modes = policy.dispatch.head_modes(residency, passes.num_tokens)
        self._weighing = weighing_of(
            policy, problem, passes.num_tokens, int(passes.num_tokens.max())
        )
        self._early = early_of(policy, problem, residency, passes, self.modes)
        self._policy = policy
        self._experts_LE = residency.experts
        self._num_experts = [layer.num_experts for layer in problem.model.layers]

    def holds_all(self, layer: int) -> bool:
        """Whether all routed experts of the layer stay on the accelerator; true of a dense layer."""
        return int(self._experts_LE[layer].sum()) == self._num_experts[layer]

    def actions(self, index: int, layer: int, tokens_E: NDArray[np.int32]) -> NDArray[np.uint8]:
        """An Action per expert [E] of a layer in the pass of that number."""
        mode = self.modes[index, layer]
        if mode != LayerMode.GPU:
            # Outside mode GPU nothing is left to decide: all experts run where the layer runs.
            everywhere = Action.CPU if mode == LayerMode.CPU else Action.RESIDENT
            return np.where(tokens_E > 0, everywhere, Action.IDLE).astype(np.uint8)
        actions = np.zeros((1, 1, len(tokens_E)), np.uint8)
        own = slice(layer, layer + 1)
        now = slice(index, index + 1)
        # The compiled rule decides whole runs. Here it is shown one layer of one pass.
        beside = self._weighing.beside
        weighing = self._weighing._replace(
            shape_of=self._weighing.shape_of[own],
            beside=beside._replace(dense=beside.dense[now], num_tokens=beside.num_tokens[now]),
        )
        early = self._early
        if len(early.experts):
            early = Early(
                experts=np.ascontiguousarray(early.experts[now, own]), lead=early.lead[now]
            )
        _DECIDE(tokens_E[None, None], self._experts_LE[own], weighing, early, actions)
        chosen: NDArray[np.uint8] = actions[0, 0]
        return chosen

    def early(self, index: int, layer: int) -> list[int]:
        """Experts of a layer whose copies begin with it, in the pass of that number."""
        return (
            np.flatnonzero(self._early.experts[index, layer]).tolist()
            if len(self._early.experts)
            else []
        )

    @property
    def early_experts(self) -> NDArray[np.bool_] | None:
        """Return which experts are copied early, [pass, layer, expert]; None where none is."""
        return self._early.experts if len(self._early.experts) else None

    def spilled(self, actions: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        """Return ``Decisions.spilled`` for the actions [pass, layer, expert] of a whole run."""
        return spilled_of(
            self._policy, actions, self.modes, np.broadcast_to(self._experts_LE, actions.shape)
        )
