"""Copies of experts that begin with their layer, before its gate.

This module says which experts are copied so, and what that means for the dispatch of the others.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.costs.memory import Residency
from sim.engine.compilation import inner
from sim.model.model import TensorClass, layer_shapes
from sim.policies.actions import LayerMode
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.workload.batch import Passes

_COPY = 1
_ON_GPU = 2


class Early(NamedTuple):
    """Early copies: ``experts`` [pass, layer, expert] are copied from the start of their layer on.

    ``experts`` has no passes if there are no such copies. ``lead`` [pass, layer shape] is the time
    from the start of a layer to the end of its gate, in ns.
    """

    experts: NDArray[np.bool_]
    lead: NDArray[np.int64]


NO_EARLY = Early(experts=np.zeros((0, 0, 0), np.bool_), lead=np.zeros((0, 0), np.int64))


def early_of(
    policy: Policy, problem: Problem, residency: Residency, passes: Passes, modes: NDArray[np.uint8]
) -> Early:
    """Return what the policy copies early.

    Only layers that run from GPU memory (``modes`` [pass, layer]) in passes that are not serial
    have early copies. Raises InputError if residents do not stay, experts are carried into another
    layer, there are several GPUs, or a layer's early copies outnumber the buffers.
    """
    named = policy.prefetch.early(problem, residency, passes)
    if named is None:
        return NO_EARLY
    # A cache decides at a gate what makes room, which is too late for copies that begin before it.
    if (
        not policy.keeps_residency
        or policy.overlap.deferred
        or policy.dispatch.foretells
        or problem.num_gpus > 1
    ):
        raise InputError(
            f"{policy.name}: copies ahead of a layer's gate need residents that stay, one GPU, nothing deferred or foretold"
        )
    # One thing at a time leaves no time in which a copy could run ahead.
    can_be = (modes == LayerMode.GPU) & ~problem.overlap.is_serial(passes.is_prefill)[:, None]
    experts = named & ~residency.experts & can_be[:, :, None]
    if not experts.any():
        return NO_EARLY
    most = int(experts.sum(axis=2).max())
    buffers = problem.overlap.staging_experts
    if most > buffers:
        raise InputError(
            f"{policy.name}: a layer's early copies must not exceed the {buffers} of staging_experts, got {most}"
        )
    return Early(experts=experts, lead=lead_ns(problem, passes))


def lead_ns(problem: Problem, passes: Passes) -> NDArray[np.int64]:
    """Return the ns from the start of a layer on the GPU to the end of its gate [pass, layer
    shape].
    """
    costs = problem.costs
    representatives, _ = layer_shapes(problem.model)
    lead = np.full((len(passes), len(representatives)), costs.layer_overhead_ns(), np.int64)
    for shape, layer in enumerate(representatives):
        where = (
            passes.num_tokens,
            passes.num_sequences,
            passes.first_position,
            passes.context_tokens,
        )
        lead[:, shape] += costs.attention("gpu", layer, *where).ns
        if problem.model.layers[layer].is_moe:
            lead[:, shape] += costs.weights("gpu", layer, TensorClass.ROUTER, passes.num_tokens).ns
    return lead


@inner
def begun(is_early, selected, priced, lead, dense_ns):
    """Return when the GPU has run shared and early experts, and when the link has copied the early
    ones.

    Both times are in ns after the gate. The copies run one after another by expert number, and the
    first begins with the layer.
    """
    on_link = -lead
    on_gpu = dense_ns
    copy = np.int64(0)
    for expert in selected:
        # The rule knows the copies of selected experts alone; those of a layer are alike.
        copy = max(copy, priced[_COPY, expert])
    place = 0
    for expert in range(len(is_early)):
        if is_early[expert]:
            on_link += copy
            while place < len(selected) and selected[place] < expert:
                place += 1
            if place < len(selected) and selected[place] == expert:
                on_gpu = max(on_gpu, on_link) + priced[_ON_GPU, expert]
    return on_gpu, max(on_link, np.int64(0))
