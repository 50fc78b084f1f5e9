"""Mamba layers and short convolutions: their weights, and the state that they keep of a
sequence.
"""

from dataclasses import dataclass

from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.weights import linear, loose
from sim.model.model import State, TensorClass

STATE_ELEMENT_BYTES = 4
"""Bytes of an element of a recurrent state and of a convolution's last inputs: 32 bit, as llama.cpp
keeps them (src/llama-memory-recurrent.cpp).
"""

_CLASS = TensorClass.ATTENTION


def kept_state(elements: int, convolved: int, kernel: int) -> State:
    """Return a recurrent state of ``elements``, with the last ``kernel`` − 1 inputs of
    ``convolved`` channels.
    """
    # The newest input comes with the token itself.
    inputs = convolved * (kernel - 1)
    return State(elements=elements, bytes=STATE_ELEMENT_BYTES * (elements + inputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2:
    """The shape of a Mamba-2 layer (arXiv 2405.21060).

    Groups of heads share B and C. ``state`` counts the elements of a channel's state, ``kernel``
    the inputs of the convolution.
    """

    num_heads: int
    head_dim: int
    num_groups: int
    state: int
    kernel: int
    has_bias: bool
    has_kernel_bias: bool


def mamba2_weights(keys: ConfigKeys, shape: Mamba2, name: str) -> AttentionWeights:
    """Return weights and state as transformers 5.23.0 builds them (NemotronHMamba2Mixer,
    GraniteMoeHybridMambaLayer).
    """
    hidden = keys.count("hidden_size")
    inner = shape.num_heads * shape.head_dim
    convolved = inner + 2 * shape.num_groups * shape.state
    # The gate, what is convolved (the inputs, B and C), and a time step for each head.
    projected = inner + convolved + shape.num_heads
    kernels = convolved * (shape.kernel + shape.has_kernel_bias)
    weights = [
        *linear(f"{name}.in_proj", _CLASS, hidden, projected, shape.has_bias),
        *linear(f"{name}.out_proj", _CLASS, inner, hidden, shape.has_bias),
        *loose(f"{name}.conv1d", _CLASS, kernels),
        *loose(f"{name}.dt_bias", _CLASS, shape.num_heads),
        *loose(f"{name}.A_log", _CLASS, shape.num_heads),
        *loose(f"{name}.D", _CLASS, shape.num_heads),
        *loose(f"{name}.norm", TensorClass.NORM, inner),
    ]
    state = kept_state(inner * shape.state, convolved, shape.kernel)
    return AttentionWeights(state=state, weights=tuple(weights))


def mamba_weights(keys: ConfigKeys, name: str) -> AttentionWeights:
    """A Mamba layer (arXiv 2312.00752) with Jamba's norms, as transformers 5.23.0 builds it
    (JambaMambaMixer).
    """
    hidden = keys.count("hidden_size")
    inner = keys.count("mamba_expand") * hidden
    state = keys.count("mamba_d_state")
    kernel = keys.count("mamba_d_conv")
    rank = _time_step_rank(keys)
    has_bias = keys.flag_or(False, "mamba_proj_bias")
    kernels = inner * (kernel + keys.flag_or(True, "mamba_conv_bias"))
    weights = [
        *linear(f"{name}.in_proj", _CLASS, hidden, 2 * inner, has_bias),
        *linear(f"{name}.x_proj", _CLASS, inner, rank + 2 * state),
        *linear(f"{name}.dt_proj", _CLASS, rank, inner, has_bias=True),
        *linear(f"{name}.out_proj", _CLASS, inner, hidden, has_bias),
        *loose(f"{name}.conv1d", _CLASS, kernels),
        *loose(f"{name}.A_log", _CLASS, inner * state),
        *loose(f"{name}.D", _CLASS, inner),
        *loose(f"{name}.norms", TensorClass.NORM, rank + 2 * state),
    ]
    return AttentionWeights(state=kept_state(inner * state, inner, kernel), weights=tuple(weights))


def _time_step_rank(keys: ConfigKeys) -> int:
    """The key ``mamba_dt_rank``, or a sixteenth of hidden_size, rounded up, where it says
    ``auto``.
    """
    if keys.value("mamba_dt_rank") == "auto":
        # Jamba's own rule for "auto" (JambaConfig of transformers 5.23.0).
        return -(-keys.count("hidden_size") // 16)
    return keys.count("mamba_dt_rank")


def short_convolution(keys: ConfigKeys, name: str) -> AttentionWeights:
    """LFM2's gated short convolution (Lfm2MoeShortConv), whose state is its last inputs alone."""
    hidden = keys.count("hidden_size")
    kernel = keys.count("conv_L_cache")
    has_bias = keys.flag_or(False, "conv_bias")
    weights = [
        *linear(f"{name}.in_proj", _CLASS, hidden, 3 * hidden, has_bias),
        *linear(f"{name}.out_proj", _CLASS, hidden, hidden, has_bias),
        *loose(f"{name}.conv", _CLASS, hidden * (kernel + has_bias)),
    ]
    return AttentionWeights(state=kept_state(0, hidden, kernel), weights=tuple(weights))
