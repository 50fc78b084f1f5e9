"""Asking a dispatch about the misses of one layer, outside a compiled run."""

import numpy as np
from numpy.typing import NDArray

from sim.model.model import layer_shapes
from sim.policies.base import Dispatch
from sim.policies.dispatch.rule import Rule
from sim.policies.problem import Problem
from sim.step.rules.spilling import ROOM, around, spill_rows
from sim.step.rules.split import split_rows


def assign(
    dispatch: Dispatch,
    layer: int,
    tokens: NDArray[np.int32],
    is_miss: NDArray[np.bool_],
    problem: Problem,
) -> NDArray[np.uint8]:
    """Return an Action per expert [..., expert], as in ``Dispatch.assign``, which may say it itself.

    Leading axes are independent cases.
    """
    said = dispatch.assign(layer, tokens, is_miss, problem)
    if said is not None:
        return said
    cases = (-1, tokens.shape[-1])
    rows = tokens.reshape(cases)
    misses = is_miss.reshape(cases)
    believed = dispatch.believed(layer, int(tokens.max(initial=0)), problem)
    prices = np.stack([column[tokens].reshape(cases) for column in believed], axis=1)
    actions = np.zeros(tokens.shape, np.uint8)
    decide = _spill if dispatch.rule == Rule.SPILL else _split
    decide(dispatch, layer, rows, misses, prices, problem, actions.reshape(cases))
    return actions


def _split(
    dispatch: Dispatch,
    layer: int,
    tokens: NDArray[np.int32],
    is_miss: NDArray[np.bool_],
    prices: NDArray[np.int64],
    problem: Problem,
    actions: NDArray[np.uint8],
) -> None:
    """Fill the ``actions`` [case, expert]; ``prices`` are ns [case; CPU, copy, GPU; expert]."""
    on_cpu, copies, on_gpu = (np.ascontiguousarray(prices[:, lane]) for lane in range(3))
    everyone = np.arange(tokens.shape[1])
    split_rows(int(dispatch.rule), everyone, tokens, is_miss, on_cpu, copies, on_gpu, actions)


def _spill(
    dispatch: Dispatch,
    layer: int,
    tokens: NDArray[np.int32],
    is_miss: NDArray[np.bool_],
    prices: NDArray[np.int64],
    problem: Problem,
    actions: NDArray[np.uint8],
) -> None:
    """Fill the ``actions`` [case, expert], residents that spill included."""
    num_tokens = tokens.sum(axis=1) // problem.model.layers[layer].top_k
    beside = around(problem, num_tokens, may_spill=dispatch.spills_residents)
    dense = np.ascontiguousarray(beside.dense[:, layer_shapes(problem.model)[1][layer]])
    num_experts = tokens.shape[1]
    room = np.empty((ROOM, num_experts), np.int64)
    held = np.zeros(num_experts, np.bool_)
    where = dense, beside.num_tokens, beside.activations, beside.fixed
    everyone = np.arange(num_experts)
    spill_rows(everyone, tokens, is_miss, prices, *where, room, held, actions)
