"""Where operations are measured, and in what format."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwprofiles import Operation
from sim.costs.curve_shapes import Shape
from validation.measuring.cold_memory import ColdMemory
from validation.measuring.probe import CurveKey


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """Where and in what format: the bench's name, its memory, the name of the format."""

    bench: str
    cold: ColdMemory
    dtype: str

    def key(self, operation: Operation, shape: Shape) -> CurveKey:
        """The curve of an operation here."""
        return CurveKey(
            operation=operation, device=self.bench, dtype=self.dtype, shape=tuple(shape.items())
        )

    def draw(self, *sizes: int) -> Tensor:
        """Draw activations."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(sizes, generator=generator).to(self.cold.device, self.cold.dtype)
