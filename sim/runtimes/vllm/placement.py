"""Which weights vLLM leaves in host memory (model_executor/offloader/uva.py at 00593fa7).

It goes through the layers from the first on, and through the parameters of each as its modules are
built: attention, router, then the experts' gate and up as one parameter, and down. Each goes to the
host whole, until the stated bytes are there; the last one may exceed them.
"""

import numpy as np

from sim.model.model import Layer, Model
from sim.runtimes.gpu_placement import placed_beside_gpu
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.vllm.arguments import VllmArguments

FIRST_EXPERT_SHARE = 2 / 3
"""Gate and up are one parameter of two of the three matrices (fused_moe/layer.py, w13 and w2)."""


def place(model: Model, arguments: VllmArguments, num_gpus: int) -> DevicePlacement:
    """Evaluate the arguments."""
    taken = 0.0
    shares = np.zeros(model.num_layers)
    dense = np.zeros(model.num_layers, bool)
    for index, layer in enumerate(model.layers):
        if taken < arguments.offload_bytes and not arguments.is_experts_alone:
            dense[index] = True
            taken += layer.dense_bytes
        for part in (FIRST_EXPERT_SHARE, 1 - FIRST_EXPERT_SHARE):
            if taken < arguments.offload_bytes and layer.is_moe:
                shares[index] += part
                taken += part * _expert_bytes(layer)
    return placed_beside_gpu(
        model, num_gpus=num_gpus, expert_on_host=shares, dense_on_host=[bool(at) for at in dense]
    )


def _expert_bytes(layer: Layer) -> int:
    return layer.num_experts * layer.expert_bytes
