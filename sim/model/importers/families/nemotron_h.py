"""Nemotron-H and Nemotron 3: each layer is one of Mamba-2, attention, a dense block, or experts."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder, DecoderLayer
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import selection
from sim.model.importers.stack import is_tied, norm_weights, top_weights
from sim.model.importers.state_space import Mamba2, mamba2_weights
from sim.model.importers.weights import Weight, linear, loose
from sim.model.model import TensorClass

_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_SYNONYMS = {"linear_attention": "mamba", "full_attention": "attention"}


def _decode(keys: ConfigKeys) -> Decoder:
    kinds = _kinds(keys)
    if keys.has("num_hidden_layers") and keys.count("num_hidden_layers") != len(kinds):
        raise keys.error(
            "num_hidden_layers",
            f"must be the {len(kinds)} layers of the pattern, got {keys.count('num_hidden_layers')}",
        )
    # Only kinds that the pattern names are made: keys of the others may be absent.
    made = {kind: _MAKERS[kind](keys) for kind in dict.fromkeys(kinds)}
    has_experts = "moe" in made
    return Decoder(
        blocks=tuple(made[kind] for kind in kinds),
        top=top_weights(keys),
        expert_intermediate=keys.count("moe_intermediate_size") if has_experts else 0,
        is_head_tied=is_tied(keys),
    )


def _kinds(keys: ConfigKeys) -> list[str]:
    """The kind of each layer: a letter each in ``hybrid_override_pattern``, or words in a list."""
    if keys.has("hybrid_override_pattern"):
        words: list[object] = [
            _LETTERS.get(letter, letter) for letter in keys.text("hybrid_override_pattern")
        ]
        name = "hybrid_override_pattern"
    else:
        name = "layers_block_type" if keys.has("layers_block_type") else "layer_types"
        words = keys.items(name)
    known = keys.meant(name, words, {kind: kind for kind in _MAKERS} | _SYNONYMS)
    if not known:
        raise keys.error(name, "must name at least one layer")
    return known


def _norm(keys: ConfigKeys) -> list[Weight]:
    return norm_weights(keys.count("hidden_size"), 1)


def _attention(keys: ConfigKeys) -> DecoderLayer:
    attention = grouped(keys, GroupedTraits(), name="mixer")
    return DecoderLayer(attention=attention.geometry, weights=(*_norm(keys), *attention.weights))


def _mamba(keys: ConfigKeys) -> DecoderLayer:
    shape = Mamba2(
        num_heads=keys.count("mamba_num_heads"),
        head_dim=keys.count("mamba_head_dim"),
        num_groups=keys.count("n_groups", "mamba_n_groups"),
        state=keys.count("ssm_state_size"),
        kernel=keys.count("conv_kernel", "mamba_d_conv"),
        has_bias=keys.flag_or(False, "use_bias"),
        has_kernel_bias=keys.flag_or(True, "use_conv_bias"),
    )
    mixer = mamba2_weights(keys, shape, "mixer")
    return DecoderLayer(state=mixer.state, weights=(*_norm(keys), *mixer.weights))


def _ungated(
    keys: ConfigKeys, name: str, tensor_class: TensorClass, inputs: int, width: int
) -> list[Weight]:
    """The weights of a block without a gate: two products with a squared ReLU between them."""
    has_bias = keys.flag_or(False, "mlp_bias") and tensor_class is not TensorClass.EXPERT
    return [
        *linear(f"{name}.up_proj", tensor_class, inputs, width, has_bias),
        *linear(f"{name}.down_proj", tensor_class, width, inputs, has_bias),
    ]


def _mlp(keys: ConfigKeys) -> DecoderLayer:
    hidden = keys.count("hidden_size")
    width = keys.count("intermediate_size")
    weights = _ungated(keys, "mixer", TensorClass.DENSE_FFN, hidden, width)
    return DecoderLayer(weights=(*_norm(keys), *weights))


def _moe(keys: ConfigKeys) -> DecoderLayer:
    """A layer of experts, which may work on a latent that two shared products lead into and out of
    (Nemotron 3 Super).
    """
    hidden = keys.count("hidden_size")
    selected = selection(keys)
    num_experts = selected["num_experts"]
    latent = keys.count_or(0, "moe_latent_size")
    has_bias = keys.flag_or(False, "mlp_bias")
    shared = keys.count("moe_shared_expert_intermediate_size")
    weights = [
        *_norm(keys),
        *linear("mixer.gate", TensorClass.ROUTER, hidden, num_experts),
        *loose("mixer.gate", TensorClass.ROUTER, num_experts),
        *_ungated(keys, "mixer.shared_experts", TensorClass.SHARED_EXPERT, hidden, shared),
        *_ungated(
            keys,
            "mixer.experts.0",
            TensorClass.EXPERT,
            latent or hidden,
            keys.count("moe_intermediate_size"),
        ),
    ]
    if latent:
        shared_class = TensorClass.SHARED_EXPERT
        weights += linear("mixer.fc1_latent_proj", shared_class, hidden, latent, has_bias)
        weights += linear("mixer.fc2_latent_proj", shared_class, latent, hidden, has_bias)
    return DecoderLayer(weights=tuple(weights), **selected)


_MAKERS = {"mamba": _mamba, "attention": _attention, "mlp": _mlp, "moe": _moe}

NEMOTRON_H = Family(
    name="nemotron_h",
    decode=_decode,
    required=("head_dim",),
    idle=(
        # keys of kinds of layers that the pattern does not name
        "conv_kernel",
        "mamba_head_dim",
        "mamba_num_heads",
        "mlp_bias",
        "moe_latent_size",
        "n_groups",
        "n_routed_experts",
        "num_attention_heads",
        "num_key_value_heads",
        "ssm_state_size",
        "use_bias",
        "use_conv_bias",
        # keys that its class does not read
        "expand",
        "mamba_expand",
        "mamba_hidden_act",
        "mamba_proj_bias",
        "mamba_ssm_cache_dtype",
        "attention_bias",
        "n_shared_experts",
        "intermediate_size",
        "moe_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "mtp_hybrid_override_pattern",
        "mamba_chunk_size",
        "time_step_rank",
        "moe_shared_expert_overlap",
    ),
    layers="backbone.layers",
)
