"""What one layer's attention is and weighs."""

from dataclasses import dataclass

from sim.model import Attention, State


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWeights:
    """The attention of one layer, or the state in its place: geometry, weights of the projections, and of its own norms."""

    geometry: Attention | None = None
    state: State | None = None
    params: int
    norm_params: int
