"""Kimi delta attention (arXiv 2510.26692): a gated delta net whose gate has an element for each
channel.
"""

from dataclasses import dataclass

from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.state_space import kept_state
from sim.model.importers.weights import Weight, linear, loose
from sim.model.model import TensorClass

_CLASS = TensorClass.ATTENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaShape:
    """Sizes of a layer of delta attention. With ``has_low_rank_gates``, both gates pass through
    ``head_dim`` channels.
    """

    hidden: int
    num_heads: int
    head_dim: int
    kernel: int
    has_low_rank_gates: bool

    @property
    def width(self) -> int:
        """Channels of all heads together."""
        return self.num_heads * self.head_dim


def delta_weights(shape: DeltaShape, name: str = "self_attn") -> AttentionWeights:
    """Return weights and state as transformers 5.23.0 builds them (KimiLinearDeltaAttention,
    BailingHybridDeltaAttention).
    """
    width = shape.width
    weights = [
        *linear(f"{name}.q_proj", _CLASS, shape.hidden, width),
        *linear(f"{name}.k_proj", _CLASS, shape.hidden, width),
        *linear(f"{name}.v_proj", _CLASS, shape.hidden, width),
        *loose(f"{name}.conv1d", _CLASS, 3 * width * shape.kernel),
        *linear(f"{name}.b_proj", _CLASS, shape.hidden, shape.num_heads),
        *_gate(shape, f"{name}.f"),
        *_gate(shape, f"{name}.g"),
        *loose(f"{name}.dt_bias", _CLASS, width),
        *loose(f"{name}.A_log", _CLASS, shape.num_heads),
        *loose(f"{name}.o_norm", TensorClass.NORM, shape.head_dim),
        *linear(f"{name}.o_proj", _CLASS, width, shape.hidden),
    ]
    state = kept_state(width * shape.head_dim, 3 * width, shape.kernel)
    return AttentionWeights(state=state, weights=tuple(weights))


def _gate(shape: DeltaShape, name: str) -> list[Weight]:
    if not shape.has_low_rank_gates:
        return linear(f"{name}_proj", _CLASS, shape.hidden, shape.width)
    return [
        *linear(f"{name}_a_proj", _CLASS, shape.hidden, shape.head_dim),
        *linear(f"{name}_b_proj", _CLASS, shape.head_dim, shape.width),
    ]
