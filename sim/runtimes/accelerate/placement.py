"""Placements of a device map: each whole layer is on the GPU or in host memory."""

import numpy as np

from hwprofiles import InputError
from sim.model.model import Model
from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.gpu_placement import placed_beside_gpu
from sim.runtimes.placement import DevicePlacement


def place(model: Model, arguments: AccelerateArguments, num_gpus: int) -> DevicePlacement:
    """Return the placement of a device map. Raises InputError for a map of another model."""
    if arguments.num_layers != model.num_layers:
        raise InputError(
            f"device map: it names {arguments.num_layers} layers, {model.name} has "
            f"{model.num_layers}"
        )
    on_host = np.isin(np.arange(model.num_layers), arguments.host_layers)
    return placed_beside_gpu(
        model,
        num_gpus=num_gpus,
        expert_on_host=on_host.astype(float),
        dense_on_host=[bool(at) for at in on_host],
    )


def largest_copied_bytes(model: Model, arguments: AccelerateArguments) -> int:
    """Return the bytes of the largest layer that is copied: the GPU keeps room for one."""
    layers = [model.layers[index] for index in arguments.host_layers]
    return max(
        (layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in layers), default=0
    )
