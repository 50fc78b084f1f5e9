"""The bound for layers pipelined over micro-batches: no lane ends before it has done its share of
the work.

Micro-batches overlap, so layers' times do not add up. But every operation runs on the GPU or on the
CPU, and each device runs one operation at a time. For any weight w in [0, 1], T ≥ w · (the GPU's
work) + (1 − w) · (the CPU's work). That weighted work is at least the sum over operations of the
cheaper device, so weighted. Attention may also be split: its projections on the GPU, what lies
between them on the CPU. Copies and host overheads are left out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.bounds.work import Floats, prices_on
from sim.model.model import layer_shapes
from sim.policies.actions import LayerMode
from sim.policies.problem import Problem
from sim.step.lowering.prices import Prices
from sim.workload.batch import Passes

WEIGHTS = np.linspace(0.0, 1.0, 101)
"""Weights of the GPU that are tried; each gives a valid bound."""


def lanes_bound_ns(problem: Problem, passes: Passes, tokens: NDArray[np.int32]) -> float:
    """Return the end-to-end bound in ns over the passes, with ``tokens`` [pass, layer, expert]."""
    gpu, cpu = (
        prices_on(problem, passes, tokens, mode, is_pinned=True)
        for mode in (LayerMode.GPU, LayerMode.CPU)
    )
    # The CPU may attend while the GPU multiplies, so attention is also offered in two parts.
    split = _products(problem, passes), _cores(problem, passes)
    costs_ns = np.array([_by_pass(gpu, cpu, split, tokens, weight) for weight in WEIGHTS])
    first, rest = (
        costs_ns[:, which].sum(axis=1).max(initial=0.0)
        for which in (passes.is_prefill, ~passes.is_prefill)
    )
    # One weight for the whole run, or one a phase: prefill ends before decode begins.
    return max(float(costs_ns.sum(axis=1).max()), float(first + rest))


def _by_pass(
    gpu: Prices, cpu: Prices, split: tuple[Floats, Floats], tokens: NDArray[np.int32], weight: float
) -> Floats:
    """Return the least weighted ns [pass] of all operations of each pass."""
    apart = weight * split[0] + (1 - weight) * split[1]
    total = np.minimum(np.minimum(weight * gpu.attention, (1 - weight) * cpu.attention), apart)
    for name in ("gate", "ffn"):
        total = total + np.minimum(weight * getattr(gpu, name), (1 - weight) * getattr(cpu, name))
    layers = np.arange(tokens.shape[1])[:, None]
    experts = (
        table[gpu.shape_of[layers], tokens]
        for table in (weight * gpu.expert_gpu, (1 - weight) * gpu.expert_cpu)
    )
    total = total + np.minimum(*experts).sum(axis=2)
    heads = np.minimum(weight * np.maximum(gpu.head, 0), (1 - weight) * np.maximum(cpu.head, 0))
    return np.asarray(total.sum(axis=1) + heads)


def _products(problem: Problem, passes: Passes) -> Floats:
    costs = problem.costs
    return _on_layers(
        problem,
        lambda layer: sum(
            costs.projection(layer, passes.num_tokens, is_output=which).ns
            for which in (False, True)
        ),
    )


def _cores(problem: Problem, passes: Passes) -> Floats:
    where = (passes.num_tokens, passes.num_sequences, passes.first_position, passes.context_tokens)
    return _on_layers(problem, lambda layer: problem.costs.attention_core("cpu", layer, *where).ns)


def _on_layers(problem: Problem, of_layer: Callable[[int], Any]) -> Floats:
    """Return what ``of_layer`` gives [pass] for each layer, as [pass, layer].

    The function is called once for each shape of layer.
    """
    representatives, shape_of = layer_shapes(problem.model)
    return np.asarray(
        np.stack([of_layer(layer) for layer in representatives], axis=1)[:, shape_of], np.float64
    )
