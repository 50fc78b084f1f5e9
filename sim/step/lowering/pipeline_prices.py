"""What pipelined layers cost besides the prices of all layers: pieces of attention, and copies of
pages, activations and KV cache.
"""

import numpy as np
from numpy.typing import NDArray

from sim.costs.cost_model import CostModel
from sim.model.model import layer_shapes
from sim.policies.problem import Problem
from sim.step.lowering.decisions import Pipelined
from sim.workload.batch import Passes

PIPE = np.dtype(
    [
        (name, "i8")
        for name in (
            *("is_split", "before", "core", "after", "down", "down_bytes", "up", "up_bytes"),
            *("kv", "kv_bytes", "page", "page_bytes"),
        )
    ]
)
"""Prices of a layer for one micro-batch, in ns and bytes.

``is_split`` says that the CPU attends (``core``), between the products ``before`` and ``after`` on
the GPU. Queries, keys and values are copied ``down``, and the sums are copied ``up``. The ``kv`` of
a prompt is copied to host memory. ``page`` is the micro-batch's share of the copy of the layer.
"""


def pipeline_prices(problem: Problem, passes: Passes, pipelined: Pipelined) -> NDArray[np.void]:
    """Return the prices of pipelined layers as records of PIPE [pass, layer]."""
    costs = problem.costs
    model = problem.model
    pipe = np.zeros((len(passes), model.num_layers), PIPE)
    representatives, shape_of = layer_shapes(model)
    shaped = np.zeros((len(passes), len(representatives)), PIPE)
    for place, layer in enumerate(representatives):
        _attention_pieces(costs, layer, passes, problem.overlap.is_pinned, shaped[:, place])
    pipe[:] = shaped[:, shape_of]
    on_gpu = pipelined.kv_on_gpu
    pipe["is_split"] = ~passes.is_prefill[:, None] & ~on_gpu
    for name in ("kv", "kv_bytes"):
        pipe[name] *= passes.is_prefill[:, None] & ~on_gpu
    for name in ("before", "core", "after", "down", "down_bytes", "up", "up_bytes"):
        pipe[name] *= pipe["is_split"]
    pipe["page_bytes"] = page_bytes(problem, passes, pipelined.paged)
    pages = costs.copy("h2d", pipe["page_bytes"], is_pinned=problem.overlap.is_pinned).ns
    pipe["page"] = np.where(pipe["page_bytes"] > 0, pages, 0)
    return pipe


def page_bytes(problem: Problem, passes: Passes, paged: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the bytes of a layer's paged experts that each micro-batch has copied [pass, layer].

    The shares of a group's micro-batches add up to all paged experts of the layer.
    """
    model = problem.model
    missing = paged.sum(axis=1) * np.array([layer.expert_bytes for layer in model.layers])
    group = passes.group
    size = np.bincount(group)[group]
    place = np.arange(len(group)) - np.searchsorted(group, group)
    # Differences of rounded sums: the shares of a group add up to the whole, to the byte.
    return np.asarray(
        missing * (place + 1)[:, None] // size[:, None] - missing * place[:, None] // size[:, None]
    )


def _attention_pieces(
    costs: CostModel, layer: int, passes: Passes, is_pinned: bool, pipe: NDArray[np.void]
) -> None:
    model = costs.model
    spec = costs.model.layers[layer]
    attention = spec.attention
    if attention is None:
        return  # such a layer is never split, and no KV cache leaves it
    tokens = passes.num_tokens.astype(np.int64)
    where = (tokens, passes.num_sequences, passes.first_position, passes.context_tokens)
    pipe["before"] = costs.projection(layer, tokens, is_output=False).ns
    pipe["core"] = costs.attention_core("cpu", layer, *where).ns
    pipe["after"] = costs.projection(layer, tokens, is_output=True).ns
    pipe["down_bytes"] = (
        tokens
        * (attention.score_elements + attention.kv_elements_per_token)
        * model.activation_bytes
    )
    pipe["up_bytes"] = tokens * attention.value_elements * model.activation_bytes
    kept = np.array(
        [spec.kv_elements(length) for length in passes.context_tokens.tolist()], np.int64
    )
    pipe["kv_bytes"] = np.ceil(passes.num_sequences * kept * model.kv_element_bytes)
    for name, way in (("down", "d2h"), ("up", "h2d"), ("kv", "d2h")):
        pipe[name] = costs.copy(
            "d2h" if way == "d2h" else "h2d", pipe[f"{name}_bytes"], is_pinned=is_pinned
        ).ns
