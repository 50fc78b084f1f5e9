"""Lightning attention (arXiv 2401.04658): the weights of a layer, and the state that it keeps."""

from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.state_space import kept_state
from sim.model.importers.weights import linear, loose
from sim.model.model import TensorClass

_CLASS = TensorClass.ATTENTION


def lightning_weights(keys: ConfigKeys, name: str = "attention") -> AttentionWeights:
    """Return weights and state as inclusionAI's modeling_bailing_moe_v2_5.py builds them (Ring-V2.5
    on GitHub).

    Every head has keys and values of its own, whatever num_key_value_heads says. The state is a
    matrix of key by value for each head. The decay of the state is a constant of head and layer, no
    weight.
    """
    hidden = keys.count("hidden_size")
    heads = keys.count("num_attention_heads")
    dim = keys.count("head_dim")
    width = heads * dim
    has_norms = keys.flag_or(False, "use_qk_norm")
    # the modules below state their sizes by these keys, which other classes of the family read
    keys.has("num_kv_heads_for_linear_attn", "group_norm_size")
    weights = [
        *linear(
            f"{name}.query_key_value",
            _CLASS,
            hidden,
            3 * width,
            keys.flag_or(False, "use_qkv_bias"),
        ),
        *linear(f"{name}.dense", _CLASS, width, hidden, keys.flag_or(False, "use_bias")),
        *linear(f"{name}.g_proj", _CLASS, hidden, width),
        *loose(f"{name}.g_norm", TensorClass.NORM, width),
        *loose(f"{name}.query_layernorm", TensorClass.NORM, 2 * dim if has_norms else 0),
    ]
    return AttentionWeights(state=kept_state(heads * dim * dim, 0, 1), weights=tuple(weights))
