"""The place where operations are measured, and their format."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwprofiles import Operation
from sim.costs.curve_shapes import Shape
from validation.measuring.cold_memory import ColdMemory
from validation.measuring.probe import CurveKey


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """A bench by name, the memory of its operations, and the format by name."""

    bench: str
    cold: ColdMemory
    dtype: str

    def key(self, operation: Operation, shape: Shape) -> CurveKey:
        """Return the key of an operation's curve in this place."""
        return CurveKey(
            operation=operation, device=self.bench, dtype=self.dtype, shape=tuple(shape.items())
        )

    def draw(self, *sizes: int) -> Tensor:
        """Return random activations of those sizes, in the place's format and memory."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(sizes, generator=generator).to(self.cold.device, self.cold.dtype)
