"""Records that compiled rules read: the experts of a layer, and what these experts run beside."""

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
"""Rows of believed times of experts, in ns."""


class LayerCase(NamedTuple):
    """The experts of one layer that a rule decides on.

    ``selected`` are these experts, ascending. ``is_miss`` and ``is_held`` [expert] say which of
    them are missing or held. ``tokens`` [expert] are theirs. ``priced`` is their believed ns [CPU,
    copy, GPU; expert].
    """

    selected: NDArray[np.int64]
    tokens: NDArray[np.int32]
    is_miss: NDArray[np.bool_]
    is_held: NDArray[np.bool_]
    priced: NDArray[np.int64]


class Beside(NamedTuple):
    """What the experts of one layer run beside: one layer's part of ``Around``.

    ``activations`` is ns [to the GPU, from it, from one GPU to another; tokens].
    """

    dense_ns: Whole
    num_tokens: Whole
    activations: NDArray[np.int64]
    fixed: NDArray[np.int64]


class Around(NamedTuple):
    """What the experts of a layer run beside, and what it costs to hand some to the CPU; times in
    ns.

    ``dense`` [pass, layer shape] is the GPU's work on shared experts. ``num_tokens`` is [pass].
    ``activations`` is [layer shape; to the GPU, from it, from one GPU to another; tokens].
    ``fixed`` has the places GROUP_GPU and the others above. GROUP_GPU and GROUP_CPU are what one
    call for a layer's experts takes besides the experts. LEAST_GPU is what it lasts on the GPU at
    least. BUFFERS is how many buffers copies go through. MAY_SPILL is 1 if residents may go to the
    CPU, else 0. LINK_BUSY is how long the link is not free: 0, unless copies before gates hold it.
    """

    dense: NDArray[np.int64]
    num_tokens: NDArray[np.int64]
    activations: NDArray[np.int64]
    fixed: NDArray[np.int64]


def around(problem: Problem, num_tokens: NDArray[Any], *, may_spill: bool) -> Around:
    """Return the true prices of what experts run beside, in passes of ``num_tokens`` [pass]."""
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
    """Return the ns of copies of the hidden states of 0, 1, …, ``max_tokens`` tokens.

    The shape is [layer shape; to the GPU, from it, from one GPU to another; tokens]. The last kind
    is 0 if hidden states cannot go directly from one GPU to another.
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
    """Return whether host memory holds all weights of the model, or its size is not stated.

    Then the CPU can also run experts that the GPU holds.
    """
    stated = problem.machine.cpu.memory_bytes
    return stated is None or problem.model.total_bytes <= stated.effective
