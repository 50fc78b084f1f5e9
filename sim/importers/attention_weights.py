"""What one layer's attention is and weighs."""

from dataclasses import dataclass

from sim.model import Attention


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWeights:
    """The attention of one layer: geometry, weights of the projections, and weights of its own norms."""

    geometry: Attention
    params: int
    norm_params: int
