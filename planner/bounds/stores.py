"""What GPU memory has to hold, and how much room it has, when a plan is bounded."""

from dataclasses import dataclass

import numpy as np

from planner.bounds.work import Floats, Work
from sim.costs.memory import MemoryRule, machine_bytes, top_bytes, usable_bytes, working_bytes
from sim.model.model import Layer
from sim.policies.problem import Problem

LOOSEST = MemoryRule(has_context_apart=False, budgets_kv=False, budgets_activations=False)
"""The rule that leaves all GPU memory to weights.

No plan that runs within the card's memory has more room, whatever its budget leaves out.
"""


LEAST_LAYER_SHARE = 1 / 3
"""The least share of a streamed layer in its buffer at a time, where it is copied within its
window.

The share stands for one of the three matrices of the layer's experts.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stores:
    """Bytes of a model's parts, and the room that a card has for them.

    [layer]: ``expert_bytes`` of one expert, ``dense_bytes`` of the dense part (with its KV cache,
    where counted), ``weight_bytes`` of the dense part's weights, ``layer_bytes`` of all.
    ``capacity_bytes`` is the room under a memory rule, ``memory_bytes`` all memory of the card.

    ``buffers`` are the least bytes of a streaming buffer: for the head and layers without experts,
    and for layers with experts. At a time, ``layer_share`` of a layer lies in such a buffer.
    ``part_buffers`` are the same where a layer is copied part by part, each used before the next
    comes.
    """

    expert_bytes: Floats
    dense_bytes: Floats
    weight_bytes: Floats
    layer_bytes: Floats
    head_bytes: float
    buffers: tuple[float, float]
    part_buffers: tuple[float, float]
    capacity_bytes: float
    memory_bytes: float
    layer_share: float
    num_experts: int

    def ns_per_byte(self, work: Work) -> float:
        """Return the ns of the link per byte of a streaming buffer, for the layer or head that
        takes longest.
        """
        longest = max(
            # At least one byte, because a part may have no weights.
            float((work.layer_fetch / np.maximum(self.layer_bytes, 1)).max()),
            work.head_fetch / max(self.head_bytes, 1.0),
        )
        return longest / self.layer_share


def stores_of(problem: Problem, rule: MemoryRule) -> Stores:
    """Return the stores of a problem under that rule.

    A policy's buffers for single experts are left out, as some budgets leave them out.
    """
    model = problem.model
    batch = problem.batch
    whole = np.array([_layer_bytes(layer) for layer in model.layers], np.float64)
    dense = np.array([layer.dense_bytes for layer in model.layers], np.float64)
    head = float(top_bytes(model, has_embedding=False))
    is_moe = np.array([layer.is_moe for layer in model.layers])
    least = min([*whole[~is_moe], head, whole.max()]), float(whole[is_moe].min())
    is_serial = bool(problem.overlap.is_serial(np.array([True, False])).all())
    # Without overlap a layer is copied whole before it is used.
    share = 1.0 if is_serial else problem.overlap.staging_layer_share
    part = min(LEAST_LAYER_SHARE, problem.overlap.staging_layer_share)
    capacity = usable_bytes(problem.machine, rule)
    if rule.budgets_kv:
        dense = dense + [
            batch.num_sequences * model.layer_kv_bytes(layer, batch.context_tokens)
            for layer in range(model.num_layers)
        ]
    if rule.budgets_activations:
        capacity -= working_bytes(model, batch, problem.feeding, rule)
    return Stores(
        expert_bytes=np.array([layer.expert_bytes for layer in model.layers], np.float64),
        dense_bytes=dense,
        weight_bytes=np.array([layer.dense_bytes for layer in model.layers], np.float64),
        layer_bytes=whole,
        head_bytes=head,
        # Rounded down, because a larger buffer could lift the bound above a real plan.
        buffers=(np.floor(share * least[0]), np.floor(share * least[1])),
        part_buffers=(np.floor(part * least[0]), np.floor(part * least[1])),
        layer_share=share,
        capacity_bytes=float(capacity),
        memory_bytes=float(machine_bytes(problem.machine)),
        num_experts=model.num_experts,
    )


def _layer_bytes(layer: Layer) -> int:
    return layer.dense_bytes + layer.num_experts * layer.expert_bytes
