"""The weights that vLLM leaves in host memory.

Read from model_executor/offloader, uva.py and prefetch.py at 00593fa7. In groups, the last layers
of each group go to the host, whole or their experts alone. By bytes, vLLM goes through the layers
from the first on, and through each layer's parameters as its modules are built. These are
attention, router, the experts' gate and up as one parameter, and down. Each parameter goes to the
host whole until the stated bytes are there, so the last may exceed them.
"""

import numpy as np

from sim.model.model import Layer, Model
from sim.runtimes.gpu_placement import placed_beside_gpu
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.vllm.arguments import VllmArguments

FIRST_EXPERT_SHARE = 2 / 3
"""The share of an expert's weights in its first parameter.

That parameter has two of the three matrices, gate and up (fused_moe/layer.py, w13 and w2).
"""


def place(model: Model, arguments: VllmArguments, num_gpus: int) -> DevicePlacement:
    """Return the placement of those arguments of vLLM."""
    if arguments.group_size:
        is_moved = np.isin(np.arange(model.num_layers), grouped_layers(model, arguments))
        return placed_beside_gpu(
            model,
            num_gpus=num_gpus,
            expert_on_host=is_moved.astype(float),
            dense_on_host=[bool(at) and not arguments.is_experts_alone for at in is_moved],
        )
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


def grouped_layers(model: Model, arguments: VllmArguments) -> list[int]:
    """The layers of every group that are copied in each pass, in order."""
    if not arguments.group_size:
        return []
    first = arguments.group_size - arguments.num_in_group
    return [
        index
        for index, layer in enumerate(model.layers)
        if index % arguments.group_size >= first and _copied_bytes(layer, arguments)
    ]


def copied_layer_bytes(model: Model, arguments: VllmArguments) -> list[int]:
    """Return the bytes that are copied of each layer of ``grouped_layers``."""
    layers = grouped_layers(model, arguments)
    return [_copied_bytes(model.layers[index], arguments) for index in layers]


def _copied_bytes(layer: Layer, arguments: VllmArguments) -> int:
    dense = 0 if arguments.is_experts_alone else layer.dense_bytes
    return dense + _expert_bytes(layer)


def _expert_bytes(layer: Layer) -> int:
    return layer.num_experts * layer.expert_bytes
