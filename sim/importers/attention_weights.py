"""What one layer's attention is and weighs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim.importers.weights import Weight
from sim.model import Attention


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWeights:
    """The attention of one layer: geometry, and the weights of its projections and of its own norms."""

    geometry: Attention
    weights: tuple[Weight, ...]

    def windowed(self, sizes: Sequence[int | None]) -> list["AttentionWeights"]:
        """This attention for layers with those windows; equal layers share one object."""
        made = {size: replace(self, geometry=replace(self.geometry, window_tokens=size)) for size in set(sizes)}
        return [made[size] for size in sizes]
