"""Weights in the host's or the accelerator's memory.

A layer is two runs of numbers, so that one or two copies move it.
"""

# TensorLegend: E experts, W weights of one expert, P weights outside the experts, D hidden, V
# vocabulary.

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from validation.backend.architecture import Architecture, Shapes
from validation.backend.copying import Copy
from validation.backend.crossing import ON_HOST


class Block:
    """Named tensors that are views of one flat tensor, so that they move together."""

    def __init__(self, flat: Tensor, shapes: Shapes) -> None:
        self.flat = flat
        self.tensors: Mapping[str, Tensor] = dict(_views(flat, shapes))

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole block."""
        return num_bytes_of(self.flat)

    def copy_from(self, other: "Block") -> Copy:
        """Return the copy that overwrites this block with another block's numbers."""
        return Copy((self.flat, other.flat))


class LayerWeights:
    """One layer: its ``dense`` block, and a block for each routed expert."""

    def __init__(
        self,
        architecture: Architecture,
        layer: int,
        dtype: torch.dtype,
        device: torch.device = ON_HOST,
        *,
        is_pinned: bool = False,
    ) -> None:
        dense = architecture.dense_shapes(layer)
        expert = architecture.expert_shapes(layer)
        self.dense = Block(empty(_size(dense), dtype, device, is_pinned=is_pinned), dense)
        num_weights = architecture.layers[layer].num_experts * _size(expert)
        # All experts of a layer lie in one tensor, so that a whole layer is copied at once.
        # A dense layer has no experts, but even an empty view needs a width.
        self.experts_EW = empty(num_weights, dtype, device, is_pinned=is_pinned).view(
            -1, max(1, _size(expert))
        )
        self.experts = tuple(Block(row, expert) for row in self.experts_EW)

    def copy_from(self, other: "LayerWeights") -> Copy:
        """Return the copy that overwrites the whole layer with another layer's numbers."""
        return Copy(
            (self.experts_EW.view(-1), other.experts_EW.view(-1)),
            (self.dense.flat, other.dense.flat),
        )


class Weights:
    """The weights of a whole decoder, in host memory, page-locked if asked for.

    A decoder has ``layers`` and the ``top`` block (embedding, last norm, head).
    """

    def __init__(
        self,
        architecture: Architecture,
        dtype: torch.dtype = torch.float32,
        *,
        is_pinned: bool = False,
    ) -> None:
        self.architecture = architecture
        self.dtype = dtype
        numbers = range(len(architecture.layers))
        self.layers = tuple(
            LayerWeights(architecture, layer, dtype, is_pinned=is_pinned) for layer in numbers
        )
        self.top = Block(
            empty(_size(architecture.top_shapes()), dtype, is_pinned=is_pinned),
            architecture.top_shapes(),
        )


def random_weights(
    architecture: Architecture,
    seed: int,
    dtype: torch.dtype = torch.float32,
    *,
    drawn_on: torch.device = ON_HOST,
    is_pinned: bool = False,
) -> Weights:
    """Return weights drawn by seed, in host memory.

    Weights are normal, with the deviation that keeps activations near 1; norms are all ones. The
    numbers are drawn on the device ``drawn_on``; each device draws others from the same seed.
    """
    weights = Weights(architecture, dtype, is_pinned=is_pinned)
    generator = torch.Generator(drawn_on).manual_seed(seed)
    for block in blocks_of(weights):
        for name, tensor in block.tensors.items():
            if name.endswith("norm"):
                tensor.fill_(1.0)
            else:
                # The router is drawn wider than the rest: near-equal shares would make the choice
                # of experts a matter of rounding.
                deviation = (
                    1.0
                    if name in ("embedding", "head")
                    else (3.0 if name == "router" else 1.0) * tensor.shape[-1] ** -0.5
                )
                tensor.copy_(
                    torch.randn(tensor.shape, generator=generator, device=drawn_on) * deviation
                )
    return weights


def blocks_of(weights: Weights) -> list[Block]:
    """Every block of the decoder, the top last."""
    return [block for layer in weights.layers for block in (layer.dense, *layer.experts)] + [
        weights.top
    ]


def empty(
    size: int, dtype: torch.dtype, device: torch.device = ON_HOST, *, is_pinned: bool = False
) -> Tensor:
    """Return room for that many numbers, filled with NaN so that reading too early shows."""
    return torch.full((size,), torch.nan, dtype=dtype, device=device, pin_memory=is_pinned)


def num_bytes_of(tensor: Tensor) -> int:
    """Bytes of a tensor's elements."""
    return int(tensor.nbytes)


def _size(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes.values())


def _views(flat: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    sizes = [prod(shape) for shape in shapes.values()]
    pieces = torch.split(flat, sizes) if sizes else ()
    return {
        name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }
