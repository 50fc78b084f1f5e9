"""The costs of experts that a policy's dispatch believes, as a table."""

import numpy as np
from numpy.typing import NDArray

from sim.model.model import layer_shapes
from sim.policies.belief import belief
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule
from sim.policies.problem import Problem


def beliefs(
    problem: Problem, dispatch: Dispatch, max_tokens: int, *, is_weighed: bool = False
) -> NDArray[np.int64]:
    """Return the believed ns of an expert [CPU, copy, GPU; layer shape; tokens].

    All are 0 if the dispatch rule weighs no costs, unless ``is_weighed`` says that another part
    does.
    """
    representatives, _ = layer_shapes(problem.model)
    believed = np.zeros((3, len(representatives), max_tokens + 1), np.int64)
    if is_weighed or dispatch.rule > Rule.FETCH:
        for shape, layer in enumerate(representatives):
            if problem.model.layers[layer].is_moe:
                believed[:, shape] = belief(dispatch.believed_cost, layer, max_tokens, problem)
    return believed
