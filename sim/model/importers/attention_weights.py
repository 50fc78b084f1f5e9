"""The geometry and the weights of one layer's attention."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim.model.importers.weights import Weight
from sim.model.model import Attention, State


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWeights:
    """The attention of one layer, or the state in its place: geometry, and weights of projections
    and own norms.

    A layer with neither has no geometry, no state and no weights here.
    """

    geometry: Attention | None = None
    state: State | None = None
    weights: tuple[Weight, ...] = ()

    def windowed(self, sizes: Sequence[int | None]) -> list["AttentionWeights"]:
        """Return this attention for layers with those windows; equal layers share one object."""
        assert self.geometry is not None
        plain = self.geometry
        made = {
            # One object a size: layers are told apart by identity further on, which takes no
            # comparing.
            size: replace(self, geometry=replace(plain, window_tokens=size))
            for size in set(sizes)
        }
        return [made[size] for size in sizes]
