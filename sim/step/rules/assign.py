"""Asking a dispatch about the misses of one layer, outside a compiled run."""

import numpy as np
from numpy.typing import NDArray

from sim.model.model import layer_shapes
from sim.policies.belief import belief
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule
from sim.policies.problem import Problem
from sim.step.rules.around import around
from sim.step.rules.spilling import spill_rows
from sim.step.rules.split import split_rows


def assign(
    dispatch: Dispatch,
    layer: int,
    tokens: NDArray[np.int32],
    is_miss: NDArray[np.bool_],
    problem: Problem,
) -> NDArray[np.uint8]:
    """Return an Action per expert [..., expert], as the rule of ``dispatch`` says.

    CPU or FETCH where ``is_miss``, elsewhere IDLE, or CPU for a resident that is to run there.
    Leading axes are independent cases.
    """
    cases = (-1, tokens.shape[-1])
    rows = tokens.reshape(cases)
    misses = is_miss.reshape(cases)
    believed = belief(dispatch.believed_cost, layer, int(tokens.max(initial=0)), problem)
    prices = np.stack([column[tokens].reshape(cases) for column in believed], axis=1)
    actions = np.zeros(rows.shape, np.uint8)
    if dispatch.rule == Rule.SPILL:
        num_tokens = rows.sum(axis=1) // problem.model.layers[layer].top_k
        beside = around(problem, num_tokens, may_spill=dispatch.spills_residents)
        shape = layer_shapes(problem.model)[1][layer]
        own = beside._replace(
            dense=np.ascontiguousarray(beside.dense[:, shape]),
            activations=beside.activations[shape],
        )
        spill_rows(rows, misses, prices, own, actions)
    else:
        everyone = np.arange(rows.shape[1])
        split_rows(int(dispatch.rule), everyone, rows, misses, prices, actions)
    return actions.reshape(tokens.shape)
