"""The layers of a decoder and their weights, as an importer reads them from a configuration."""

from dataclasses import dataclass

from sim.model.importers.weights import Weight
from sim.model.model import Attention, State


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderLayer:
    """One decoder layer: attention, a state, a dense feed-forward, experts, each or none.

    ``weights`` hold those of one routed expert. ``num_experts`` and ``top_k`` are 0 in a layer
    without experts.
    """

    attention: Attention | None = None
    state: State | None = None
    weights: tuple[Weight, ...]
    num_experts: int = 0
    top_k: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """All layers, and the weights outside them: embedding, final norm and head (absent where tied)."""

    blocks: tuple[DecoderLayer, ...]
    top: tuple[Weight, ...]
    expert_intermediate: int = 0
    is_head_tied: bool = False
