"""Gated delta nets (arXiv 2412.06464): which layers have one, its weights, and the state that it
keeps.
"""

from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.state_space import kept_state
from sim.model.importers.weights import linear, loose
from sim.model.model import TensorClass

_IS_LINEAR = {"full_attention": False, "linear_attention": True}
_CLASS = TensorClass.ATTENTION


def linear_layers(keys: ConfigKeys, num_layers: int) -> list[bool]:
    """Return, for each layer, whether it has linear attention.

    ``layer_types`` decides; without it, all layers but every ``full_attention_interval``-th have
    it. Raises InputError for another layer type, or with neither key.
    """
    if not keys.has("layer_types"):
        interval = keys.count("full_attention_interval", "layer_types")
        return [(index + 1) % interval != 0 for index in range(num_layers)]
    keys.has("full_attention_interval")
    return keys.layer_kinds("layer_types", num_layers, _IS_LINEAR)


def linear_attention_weights(keys: ConfigKeys) -> AttentionWeights:
    """Return weights and state as transformers 5.23.0 builds them (Qwen3NextGatedDeltaNet). No key
    or value is cached.
    """
    hidden = keys.count("hidden_size")
    kernel = keys.count("linear_conv_kernel_dim")
    key_heads = keys.count("linear_num_key_heads")
    heads = keys.count("linear_num_value_heads")
    if heads % key_heads:
        raise keys.error(
            "linear_num_key_heads",
            f"must divide linear_num_value_heads, got {key_heads} and {heads}",
        )
    key_dim = keys.count("linear_key_head_dim")
    value_dim = keys.count("linear_value_head_dim")
    valued = heads * value_dim
    # Queries have as many heads as keys here; both pass the convolution together with the values.
    convolved = 2 * key_heads * key_dim + valued
    # Each value head keeps a matrix from keys to values.
    state = heads * key_dim * value_dim
    kept = kept_state(state, convolved, kernel)
    weights = [
        *linear("linear_attn.in_proj_qkvz", _CLASS, hidden, convolved + valued),
        *linear("linear_attn.in_proj_ba", _CLASS, hidden, 2 * heads),
        *linear("linear_attn.out_proj", _CLASS, valued, hidden),
        *loose("linear_attn.conv1d", _CLASS, convolved * kernel),
        *loose("linear_attn.dt_bias", _CLASS, heads),
        *loose("linear_attn.A_log", _CLASS, heads),
        *loose("linear_attn.norm", TensorClass.NORM, value_dim),
    ]
    return AttentionWeights(state=kept, weights=tuple(weights))
