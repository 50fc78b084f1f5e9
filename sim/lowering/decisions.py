"""Asking a policy's parts what to do in every layer of every pass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.engine.compilation import allocating_kernel
from sim.memory import Residency
from sim.model import layer_shapes
from sim.policies.actions import Action, LayerMode
from sim.policies.base import Dispatch
from sim.policies.dispatch.split import Rule, split_row
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.workload import Passes

_RESIDENT, _CPU, _FETCH, _FETCHING = int(Action.RESIDENT), int(Action.CPU), int(Action.FETCH), int(Rule.FETCH)


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
        dispatch, (_, shape_of) = policy.dispatch, layer_shapes(problem.model)
        believed = beliefs(problem, dispatch, int(tokens.max(initial=0)))
        held, rule = held_after_prompt(policy, problem, residency, passes, tokens), int(dispatch.rule)
        if held is residency.experts:
            decide_misses(tokens, held, shape_of, rule, believed, actions)
        else:
            for rows, experts, fate in ((passes.is_prefill, residency.experts, _FETCHING), (~passes.is_prefill, held, rule)):
                chosen = actions[rows]
                decide_misses(tokens[rows], experts, shape_of, fate, believed, chosen)
                actions[rows] = chosen
    else:
        _replay(policy, problem, residency, tokens, actions)
    actions[~is_active] = Action.IDLE
    _follow_layers(actions, modes, is_active)
    return Decisions(actions=actions, modes=modes, head_modes=policy.dispatch.head_modes(residency, passes.num_tokens))


def held_after_prompt(
    policy: Policy, problem: Problem, residency: Residency, passes: Passes, tokens: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """The experts [layer, expert] that the GPU holds while it decodes; ``residency.experts`` itself where nothing moves."""
    if not policy.placement.is_remade:
        return residency.experts
    return policy.placement.after_prompt(problem, residency, tokens[passes.is_prefill].sum(axis=0, dtype=np.int64))


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


def beliefs(problem: Problem, dispatch: Dispatch, max_tokens: int) -> NDArray[np.int64]:
    """What the dispatch believes [CPU, copy, GPU; layer shape; tokens]; zero where its rule weighs nothing."""
    representatives, _ = layer_shapes(problem.model)
    believed = np.zeros((3, len(representatives), max_tokens + 1), np.int64)
    if dispatch.rule > Rule.FETCH:
        for shape, layer in enumerate(representatives):
            if problem.model.layers[layer].is_moe:
                believed[:, shape] = dispatch.believed(layer, max_tokens, problem)
    return believed


@allocating_kernel
def decide_misses(tokens, experts_LE, shape_of, rule, believed, actions):
    """Hits, and what the rule says of misses, for residents that never change [layer, expert]; fills actions [pass, layer, expert]."""
    num_experts = experts_LE.shape[1]
    if rule <= _FETCHING:  # every miss meets the same fate
        missing = _FETCH if rule == _FETCHING else _CPU
        for index in range(actions.shape[0]):
            for layer in range(actions.shape[1]):
                for expert in range(num_experts):
                    chosen = _RESIDENT if experts_LE[layer, expert] else missing
                    actions[index, layer, expert] = chosen if tokens[index, layer, expert] > 0 else 0
        return
    is_miss, priced = np.zeros(num_experts, np.bool_), np.zeros((3, num_experts), np.int64)
    for index in range(actions.shape[0]):
        for layer in range(actions.shape[1]):
            shape, row, misses = shape_of[layer], tokens[index, layer], 0
            for expert in range(num_experts):
                is_miss[expert] = row[expert] > 0 and not experts_LE[layer, expert]
                if is_miss[expert]:
                    misses += 1
                    for column in range(3):
                        priced[column, expert] = believed[column, shape, row[expert]]
                actions[index, layer, expert] = _RESIDENT if row[expert] > 0 else 0
            if misses > 0:
                split_row(rule, row, is_miss, priced[0], priced[1], priced[2], 0, actions[index, layer])
