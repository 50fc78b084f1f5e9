"""Gated delta nets (arXiv 2412.06464): which layers are, what they weigh, and the state that they keep."""

from hwprofiles import InputError
from sim.importers.attention_weights import AttentionWeights
from sim.importers.config_keys import ConfigKeys
from sim.model import State

STATE_ELEMENT_BYTES = 4
"""The recurrent state is kept in 32 bit, whatever the weights are in (transformers 5.23.0, torch_recurrent_gated_delta_rule)."""

WINDOW_ELEMENT_BYTES = 2
"""The convolution's last inputs are activations."""

_LAYER_TYPES = ("full_attention", "linear_attention")


def linear_layers(keys: ConfigKeys, num_layers: int) -> list[bool]:
    """Which layers have linear attention, by ``layer_types`` or else all but every ``full_attention_interval``-th.

    Raises InputError for another layer type, or with neither key.
    """
    if not keys.has("layer_types"):
        interval = keys.count("full_attention_interval", "layer_types")
        return [(index + 1) % interval != 0 for index in range(num_layers)]
    kinds = keys.per_layer("layer_types", num_layers)
    for kind in kinds:
        if kind not in _LAYER_TYPES:
            raise InputError(f"{keys.where}: key layer_types may hold {', '.join(_LAYER_TYPES)}, got {kind!r}")
    return [kind == "linear_attention" for kind in kinds]


def linear_attention_weights(keys: ConfigKeys) -> AttentionWeights:
    """Weights as transformers 5.23.0 builds them (Qwen3NextGatedDeltaNet); no key or value is cached."""
    hidden, kernel = keys.count("hidden_size"), keys.count("linear_conv_kernel_dim")
    heads, value_dim = keys.count("linear_num_value_heads"), keys.count("linear_value_head_dim")
    key_dim = keys.count("linear_key_head_dim")
    keyed, valued = keys.count("linear_num_key_heads") * key_dim, heads * value_dim
    convolved = 2 * keyed + valued
    projections = hidden * (convolved + valued + 2 * heads) + valued * hidden
    state = heads * key_dim * value_dim
    kept = State(
        elements=state,
        bytes=state * STATE_ELEMENT_BYTES + convolved * kernel * WINDOW_ELEMENT_BYTES,
    )
    return AttentionWeights(state=kept, params=projections + convolved * kernel + 2 * heads, norm_params=value_dim)
