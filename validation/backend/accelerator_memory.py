"""The accelerator's memory: weights that stay, and staging buffers that copies go through."""

import torch

from sim.costs.memory import Residency
from sim.policies.overlap import Overlap
from validation.backend.crossing import ON_HOST, brought
from validation.backend.weights import Block, LayerWeights, Weights, empty


class AcceleratorMemory:
    """Copies of the weights that a residency names, and empty staging buffers.

    Other weights cannot be read from here; they are on the host.
    """

    def __init__(
        self,
        weights: Weights,
        residency: Residency,
        overlap: Overlap,
        device: torch.device = ON_HOST,
    ) -> None:
        self.device = device
        layers = range(len(weights.layers))
        self.dense = {
            layer: _copy(weights.layers[layer].dense, device)
            for layer in layers
            if residency.dense[layer]
        }
        self.experts = {
            (layer, expert): _copy(block, device)
            for layer in layers
            for expert, block in enumerate(weights.layers[layer].experts)
            if residency.experts[layer, expert]
        }
        self.top = _copy(weights.top, device) if residency.has_head else None
        self.expert_buffers = [
            expert_buffer(weights, device) for _ in range(overlap.staging_experts)
        ]
        self.layer_buffers = [_layer_buffer(weights, device) for _ in range(overlap.staging_layers)]
        # As many buffers as for layers, because one ring numbers layers and the head alike.
        self.top_buffers = (
            []
            if residency.has_head
            else [_empty_like(weights.top, device) for _ in range(overlap.staging_layers)]
        )


def expert_buffer(
    weights: Weights, device: torch.device, *, is_pinned: bool = False
) -> list[Block]:
    """Return one buffer as a list of blocks [layer]: each layer's shape over the same memory."""
    shapes = [weights.architecture.expert_shapes(layer) for layer in range(len(weights.layers))]
    # A buffer serves every layer, so it is as large as the largest expert.
    sizes = [layer.experts_EW.shape[1] if layer.experts else 0 for layer in weights.layers]
    flat = empty(max(sizes), weights.dtype, device, is_pinned=is_pinned)
    return [Block(flat[:size], shape) for size, shape in zip(sizes, shapes, strict=True)]


def _copy(block: Block, device: torch.device) -> Block:
    return Block(brought(block.flat, device), _shapes(block))


def _empty_like(block: Block, device: torch.device) -> Block:
    return Block(empty(block.flat.numel(), block.flat.dtype, device), _shapes(block))


def _shapes(block: Block) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in block.tensors.items()}


def _layer_buffer(weights: Weights, device: torch.device) -> list[LayerWeights]:
    """Return one buffer for whole layers as a list [layer]; layers of one shape share its
    memory.
    """
    architecture = weights.architecture
    of_shape = {
        shape: LayerWeights(architecture, layer, weights.dtype, device)
        for layer, shape in enumerate(architecture.layers)
    }
    return [of_shape[shape] for shape in architecture.layers]
