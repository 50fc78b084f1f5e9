"""What a policy's dispatch believes that an expert costs, as a table."""

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
    """What the dispatch believes [CPU, copy, GPU; layer shape; tokens]; zero where its rule weighs
    nothing, unless another part does.
    """
    representatives, _ = layer_shapes(problem.model)
    believed = np.zeros((3, len(representatives), max_tokens + 1), np.int64)
    if is_weighed or dispatch.rule > Rule.FETCH:
        for shape, layer in enumerate(representatives):
            if problem.model.layers[layer].is_moe:
                believed[:, shape] = belief(dispatch.believed_cost, layer, max_tokens, problem)
    return believed
