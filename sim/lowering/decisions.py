"""Asking a policy's parts what to do in every layer of every pass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.memory import Residency
from sim.policies.actions import Action, LayerMode
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.workload import Passes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decisions:
    """``actions`` [pass, layer, expert] (Action), ``modes`` [pass, layer] and ``head_modes`` [pass] (LayerMode)."""

    actions: NDArray[np.uint8]
    modes: NDArray[np.uint8]
    head_modes: NDArray[np.uint8]


def decide(policy: Policy, problem: Problem, residency: Residency, passes: Passes, tokens: NDArray[np.int32]) -> Decisions:
    """What the policy does with those tokens per expert [pass, layer, expert]."""
    modes = np.ascontiguousarray(policy.dispatch.layer_modes(residency, passes.num_tokens))
    is_active = tokens > 0
    actions = np.zeros(tokens.shape, np.uint8)
    if policy.cache.is_static:
        is_hit = is_active & residency.experts
        for layer in problem.model.moe_layers:
            actions[:, layer] = policy.dispatch.assign(layer, tokens[:, layer], is_active[:, layer] & ~is_hit[:, layer], problem)
        actions[is_hit] = Action.RESIDENT
    else:
        _replay(policy, problem, residency, tokens, actions)
    actions[~is_active] = Action.IDLE
    _follow_layers(actions, modes, is_active)
    return Decisions(actions=actions, modes=modes, head_modes=policy.dispatch.head_modes(residency, passes.num_tokens))


def _replay(policy: Policy, problem: Problem, residency: Residency, tokens: NDArray[np.int32], actions: NDArray[np.uint8]) -> None:
    """Run the cache over the passes in order, all experts of a layer at once; a layer without slots has nothing to swap."""
    state = policy.cache.start(residency)
    has_slots = [bool(row.any()) for row in residency.experts]
    for index in range(len(tokens)):
        for layer in problem.model.moe_layers:
            row = tokens[index, layer]
            selected = np.flatnonzero(row)
            is_hit = state.classify(layer, selected)
            is_miss = np.zeros(len(row), bool)
            is_miss[selected[~is_hit]] = True
            chosen = policy.dispatch.assign(layer, row, is_miss, problem)
            chosen[selected[is_hit]] = Action.RESIDENT
            fetched = np.flatnonzero(is_miss & (chosen == Action.FETCH))
            state.admit(layer, fetched)
            chosen[fetched] = Action.SWAP if policy.cache.writes_back and has_slots[layer] else Action.FETCH
            actions[index, layer] = chosen


def _follow_layers(actions: NDArray[np.uint8], modes: NDArray[np.uint8], is_active: NDArray[np.bool_]) -> None:
    """In a layer that runs on the CPU or is streamed whole, its experts go with it."""
    actions[(modes == LayerMode.CPU)[:, :, None] & is_active] = Action.CPU
    actions[(modes == LayerMode.STREAM)[:, :, None] & is_active] = Action.RESIDENT
