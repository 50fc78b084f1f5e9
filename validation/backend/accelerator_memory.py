"""What the accelerator holds: weights that stay, and staging buffers that copies go through."""

from sim.memory import Residency
from sim.policies.problem import Overlap
from validation.backend.weights import Block, LayerWeights, Weights, empty


class AcceleratorMemory:
    """Copies of what a residency names, and empty buffers. What it does not hold cannot be read: the host's weights are elsewhere."""

    def __init__(self, weights: Weights, residency: Residency, overlap: Overlap) -> None:
        layers = range(len(weights.layers))
        self.dense = {layer: _copy(weights.layers[layer].dense) for layer in layers if residency.dense[layer]}
        self.experts = {
            (layer, expert): _copy(block)
            for layer in layers
            for expert, block in enumerate(weights.layers[layer].experts)
            if residency.experts[layer, expert]
        }
        self.top = _copy(weights.top) if residency.has_head else None
        self.expert_buffers = [expert_buffer(weights) for _ in range(overlap.staging_experts)]
        self.spill_buffer = expert_buffer(weights)  # of the host: where what leaves is copied to
        self.layer_buffers = [_layer_buffer(weights) for _ in range(overlap.staging_layers)]
        self.top_buffers = [_empty_like(weights.top) for _ in range(overlap.staging_layers)] if not residency.has_head else []


def _copy(block: Block) -> Block:
    return Block(block.flat.clone(), _shapes(block))


def _empty_like(block: Block) -> Block:
    return Block(empty(block.flat.numel(), block.flat.dtype), _shapes(block))


def _shapes(block: Block) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in block.tensors.items()}


def expert_buffer(weights: Weights) -> list[Block]:
    """One buffer, as a block of each layer's shape over the same memory."""
    shapes = [weights.architecture.expert_shapes(layer) for layer in range(len(weights.layers))]
    sizes = [layer.experts_EW.shape[1] if layer.experts else 0 for layer in weights.layers]
    flat = empty(max(sizes), weights.dtype)
    return [Block(flat[:size], shape) for size, shape in zip(sizes, shapes, strict=True)]


def _layer_buffer(weights: Weights) -> list[LayerWeights]:
    """One buffer for whole layers, seen by each layer; layers of one shape share its memory."""
    architecture = weights.architecture
    of_shape = {shape: LayerWeights(architecture, layer, weights.dtype) for layer, shape in enumerate(architecture.layers)}
    return [of_shape[shape] for shape in architecture.layers]
