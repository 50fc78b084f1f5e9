"""Placements of KTransformers: a share of each layer's experts is on the GPU, the rest on the CPU.

The layer's other weights are on the GPU.
"""

import numpy as np

from sim.model.model import Model, TensorClass
from sim.model.quantization import FORMATS
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.placement import DevicePlacement


def place(
    model: Model, arguments: KtArguments, num_gpus: int, num_sockets: int = 1
) -> DevicePlacement:
    """Return the placement of the arguments.

    Host memory holds every expert, also those on the GPU (KTransformers issue 2084). A program
    built with USE_NUMA copies all of them to every socket (operators/llamafile/moe.cpp).
    """
    gpu = 0 if num_gpus else -1
    fractions = np.zeros((model.num_layers, num_gpus + 1))
    weights = np.zeros(num_gpus + 1)
    factor = _cpu_bytes_factor(model, arguments)
    num_copies = num_sockets if arguments.copies_experts else 1
    for index, layer in enumerate(model.layers):
        weights[gpu + 1] += layer.dense_bytes
        if not layer.is_moe:
            continue
        share = _gpu_share(arguments, layer.num_experts) if num_gpus else 0.0
        fractions[index, 0] = 1 - share
        fractions[index, gpu + 1] += share
        weights[0] += num_copies * factor * layer.num_experts * layer.expert_bytes
        # The GPU's copy has the model's own format, whatever the CPU's is.
        weights[gpu + 1] += share * layer.num_experts * layer.expert_bytes
    weights[0] += model.top_bytes.get(TensorClass.EMBEDDING, 0)
    # A tied head is the embedding itself, of which only a GPU needs a copy.
    if num_gpus or not model.is_head_tied:
        weights[gpu + 1] += model.top_bytes.get(model.head_class, 0)
    devices = np.full(model.num_layers, gpu)
    # A layer with all experts on the GPU never leaves it.
    visits = int(np.count_nonzero(fractions[:, 0])) if num_gpus else 0
    return DevicePlacement(
        attention=devices,
        kv=devices,
        dense=devices,
        expert_fraction=fractions,
        head=gpu,
        is_by_matrix=False,
        num_crossings=2 * visits,
        crossings_between_gpus=0,
        weight_bytes=weights,
        cpu_expert_bytes_factor=factor,
    )


def _cpu_bytes_factor(model: Model, arguments: KtArguments) -> float:
    """Return the bytes of experts in the CPU's format, over those in the model's own format."""
    if arguments.cpu_format is None or not model.moe_layers:
        return 1.0
    layers = [model.layers[index] for index in model.moe_layers]
    weights = sum(layer.num_experts * layer.params[TensorClass.EXPERT] for layer in layers)
    stored = sum(layer.num_experts * layer.expert_bytes for layer in layers)
    return weights * FORMATS[arguments.cpu_format].bytes_per_weight / stored


def _gpu_share(arguments: KtArguments, num_experts: int) -> float:
    if arguments.gpu_experts_fraction is not None:
        return arguments.gpu_experts_fraction
    return min(1.0, arguments.gpu_experts / num_experts)
