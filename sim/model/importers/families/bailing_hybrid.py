"""Ling and Ring with linear attention in most layers, three generations.

Ring-linear-2.0 has lightning attention beside grouped queries, Ling-2.5 and 2.6 have it beside
latents. Ling-3.0 has delta attention beside gated latents, as transformers 5.23.0 builds it. The
others are read off the modelling classes of the checkpoints (modeling_bailing_moe_v2_5.py of
inclusionAI/Ring-V2.5 on GitHub).
"""

from dataclasses import replace
from functools import partial

from sim.model.importers.attention import latent
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys, shown
from sim.model.importers.decoder import Decoder
from sim.model.importers.delta_attention import DeltaShape, delta_weights
from sim.model.importers.families.bailing_moe import (
    IDLE_KEYS,
    bailing_attention,
    bailing_decoder,
)
from sim.model.importers.family import Family
from sim.model.importers.lightning_attention import lightning_weights
from sim.model.importers.linear_attention import linear_layers
from sim.model.importers.weights import linear
from sim.model.model import TensorClass

_GATED = "gated_attention_proj_granularity_type"


def _decode(keys: ConfigKeys, *, has_latents: bool) -> Decoder:
    full = _latents(keys) if has_latents else bailing_attention(keys)
    # of the generations with latents, only the third has short convolutions
    is_delta = has_latents and keys.has("short_conv_kernel_size", "linear_conv_kernel_dim")
    mixer = _delta(keys) if is_delta else lightning_weights(keys)
    return bailing_decoder(keys, [mixer if is_linear else full for is_linear in _linear(keys)])


def _linear(keys: ConfigKeys) -> list[bool]:
    """Return, for each layer, whether it is linear.

    ``layer_types`` decides where it is stated. Without the key, all layers of a group but its last
    are linear, and none of an unfinished group.
    """
    num_layers = keys.count("num_hidden_layers")
    if keys.has("layer_types"):
        keys.has("layer_group_size")
        return linear_layers(keys, num_layers)
    size = keys.count("layer_group_size")
    whole = num_layers // size * size
    return [index < whole and (index + 1) % size != 0 for index in range(num_layers)]


def _latents(keys: ConfigKeys) -> AttentionWeights:
    """Latent attention; in the third generation with one gate a head on its output."""
    plain = latent(keys, "attention")
    granularity = keys.text(_GATED) if keys.has(_GATED) else None
    if granularity is None and not keys.has("short_conv_kernel_size", "linear_conv_kernel_dim"):
        return plain
    # transformers' class has the gate whatever the key says; another one is not known
    if granularity not in (None, "head_wise"):
        raise keys.error(_GATED, f"may be head_wise, got {shown(granularity)}")
    heads = keys.count("num_attention_heads")
    gate = linear("attention.g_proj", TensorClass.ATTENTION, keys.count("hidden_size"), heads)
    return replace(plain, weights=(*plain.weights, *gate))


def _delta(keys: ConfigKeys) -> AttentionWeights:
    shape = DeltaShape(
        hidden=keys.count("hidden_size"),
        num_heads=keys.count("num_attention_heads"),
        # files written by transformers call a head's size there by another name
        head_dim=keys.count("linear_head_dim", "head_dim"),
        kernel=keys.count("short_conv_kernel_size", "linear_conv_kernel_dim"),
        has_low_rank_gates=not keys.flag_or(True, "no_kda_lora"),
    )
    return delta_weights(shape, "attention")


_IDLE = (
    *IDLE_KEYS,
    "num_key_value_heads",
    "head_dim",
    "qk_head_dim",
    "linear_silu",
    "group_norm_size",
    "use_qk_norm",
    "num_kv_heads_for_linear_attn",
    "kda_lower_bound",
    "kda_safe_gate",
    "use_linear_attention",
    "linear_num_heads",
)

BAILING_MOE_LINEAR = Family(
    name="bailing_moe_linear",
    decode=partial(_decode, has_latents=False),
    required=("num_shared_experts", "first_k_dense_replace", "layer_group_size", "head_dim"),
    aliases=("bailing_moe_linear_v2",),
    idle=_IDLE,
)
BAILING_HYBRID = Family(
    name="bailing_hybrid",
    decode=partial(_decode, has_latents=True),
    required=("num_shared_experts", "head_dim"),
    aliases=("bailing_moe_v2_5", "bailing_moe_v3"),
    idle=_IDLE,
)
