"""What the experts of a layer run beside, and the experts that a rule decides on: as records that
compiled rules read.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.costs.cost_model import CostModel
from sim.model.model import TensorClass, layer_shapes
from sim.policies.problem import Problem

GROUP_GPU, LEAST_GPU, GROUP_CPU, BUFFERS, MAY_SPILL, LINK_BUSY = range(6)
"""Places in ``Around.fixed``."""
Whole = int | np.int64
"""A whole number: Python's, or one that compiled code has made."""

ON_CPU, COPIES, ON_GPU = range(3)
"""Rows of what is believed of experts, in ns."""


class LayerCase(NamedTuple):
    """The experts of one layer that a rule decides on.

    Those that are ``selected``, ascending, are missing or held [expert]; they have ``tokens``
    [expert], and are believed to take ``priced`` ns [CPU, copy, GPU; expert].
    """

    selected: NDArray[np.int64]
    tokens: NDArray[np.int32]
    is_miss: NDArray[np.bool_]
    is_held: NDArray[np.bool_]
    priced: NDArray[np.int64]


class Beside(NamedTuple):
    """What the experts of one layer run beside: one layer's part of ``Around``, of ``activations``
    [to or from the GPU, tokens].
    """

    dense_ns: Whole
    num_tokens: Whole
    activations: NDArray[np.int64]
    fixed: NDArray[np.int64]


class Around(NamedTuple):
    """What the experts of a layer run beside, and what it costs to hand some to the CPU; times in
    ns.

    ``dense`` [pass, layer shape] is the GPU's work on shared experts; ``num_tokens`` [pass];
    ``activations`` [layer shape, to or from the GPU, tokens]; ``fixed``: what one call for a
    layer's experts takes on the GPU besides, what it lasts there at least, what it takes on the CPU; buffers that
    copies go through; whether residents may go to the CPU at all (1 or 0); how long the link is not
    free (0, but where copies ahead of gates hold it).
    """

    dense: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    activations: NDArray[np.int64]
    fixed: NDArray[np.int64]


def around(problem: Problem, num_tokens: NDArray[Any], *, may_spill: bool) -> Around:
    """True prices around the experts of passes of that many tokens."""
    costs = problem.costs
    model = problem.model
    overlap = problem.overlap
    representatives, _ = layer_shapes(model)
    dense = np.zeros((len(num_tokens), len(representatives)), np.int64)
    for shape, layer in enumerate(representatives):
        if model.layers[layer].is_moe and model.layers[layer].params.get(
            TensorClass.SHARED_EXPERT, 0
        ):
            dense[:, shape] = costs.weights("gpu", layer, TensorClass.SHARED_EXPERT, num_tokens).ns
    activations = hidden_copies(costs, int(num_tokens.max(initial=0)), is_pinned=overlap.is_pinned)
    groups = [0, 0, 0]
    if overlap.groups_experts:
        groups = [
            costs.group_overhead_ns("gpu"),
            costs.group_least_ns(),
            costs.group_overhead_ns("cpu"),
        ]
    fixed = np.array(
        [*groups, max(1, overlap.staging_experts), may_spill and has_host_copies(problem), 0],
        np.int64,
    )
    return Around(
        dense=dense,
        num_tokens=num_tokens.astype(np.int64),
        activations=activations,
        fixed=fixed,
    )


def hidden_copies(costs: CostModel, max_tokens: int, *, is_pinned: bool) -> NDArray[np.int64]:
    """What copies of the hidden states of 0, 1, …, max_tokens tokens take, in ns [layer shape; to
    the GPU, from it, from one GPU to another; tokens].

    Where they cannot go straight from one GPU to another, the last is 0.
    """
    model = costs.model
    sizes = np.arange(max_tokens + 1) * model.hidden * model.activation_bytes
    across = costs.copy_across(sizes)
    found = []
    for layer in layer_shapes(model)[0]:
        own = costs.at(layer)
        to_gpu = own.copy_hidden("h2d", sizes, is_pinned=is_pinned).ns
        from_gpu = own.copy_hidden("d2h", sizes, is_pinned=is_pinned).ns
        found.append([to_gpu, from_gpu, np.zeros_like(to_gpu) if across is None else across.ns])
    return np.array(found, np.int64)


def has_host_copies(problem: Problem) -> bool:
    """Whether host memory, where it is stated, holds all weights of the model: then the CPU can run
    experts that the GPU holds too.
    """
    stated = problem.machine.cpu.memory_bytes
    return stated is None or problem.model.total_bytes <= stated.effective
