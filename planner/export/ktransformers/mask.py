"""A mask for KTransformers: counts from which its ``frequency`` strategy chooses a given set of
experts.

sglang-kt 0.7.2 puts the experts with the highest counts of ``--init-expert-location`` on the GPU.
Their number is ``--kt-gpu-experts-ratio`` of all experts in layers that have them. So counts of 1
and 0 state a mask exactly, if the ratio lies half an expert above the number of ones. Rounding then
never takes one more. Dense layers count 0.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.model.model import Model

Counts = NDArray[np.float32]
"""Shape (1, layers, experts), as the file's ``logical_count``."""


def logical_count(model: Model, experts: Sequence[Sequence[int]]) -> Counts:
    """Return the counts that put ``experts`` [layer] on the GPU: 1 for these experts, 0 for others.

    Raises InputError for a model without experts, and for experts in a dense layer.
    """
    if model.is_dense:
        raise InputError(f"{model.name} has no experts to place")
    counts = np.zeros((1, model.num_layers, model.num_experts), np.float32)
    for layer, chosen in enumerate(experts):
        if chosen and not model.layers[layer].is_moe:
            raise InputError(f"layer {layer} of {model.name} is dense, it has no experts")
        counts[0, layer, list(chosen)] = 1.0
    return counts


def gpu_experts_ratio(model: Model, counts: Counts) -> float:
    """Return the ``--kt-gpu-experts-ratio`` with which the runtime takes exactly the experts
    counted 1.
    """
    # Half an expert more, so that rounding down gives the number itself.
    return float((counts.sum() + 0.5) / (len(model.moe_layers) * model.num_experts))


def mask_words(model: Model, counts: Counts, path: str) -> tuple[str, ...]:
    """Return the flags that make KTransformers read the file at ``path``."""
    return (
        "--kt-expert-placement-strategy",
        "frequency",
        "--init-expert-location",
        path,
        "--kt-gpu-experts-ratio",
        f"{gpu_experts_ratio(model, counts):.9g}",
    )
