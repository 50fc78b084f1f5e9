"""Attention of each layer from a configuration: geometry, windows, and weights."""

from dataclasses import replace

from hwprofiles import InputError
from sim.importers.attention_weights import AttentionWeights
from sim.importers.config_keys import ConfigKeys
from sim.importers.families import Family
from sim.importers.linear_attention import linear_attention_weights, linear_layers
from sim.model import Attention

_LAYER_TYPES = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


def attention_by_layer(keys: ConfigKeys, family: Family, num_layers: int) -> list[AttentionWeights]:
    """The attention of each layer, with its window; equal layers share one object."""
    quadratic = _latent(keys) if family.is_mla else _grouped(keys, family)
    if family.has_linear_attention:
        linear = linear_attention_weights(keys)
        return [linear if is_linear else quadratic for is_linear in linear_layers(keys, num_layers)]
    sizes = windows(keys, family, num_layers)
    assert quadratic.geometry is not None
    plain = quadratic.geometry
    windowed = {size: replace(quadratic, geometry=replace(plain, window_tokens=size)) for size in set(sizes)}
    return [windowed[size] for size in sizes]


def windows(keys: ConfigKeys, family: Family, num_layers: int) -> list[int | None]:
    """The window of each layer in tokens, None for full attention.

    ``layer_types`` names the layers with a sliding or chunked window; without it ``no_rope_layers`` does (Llama 4: 0 marks
    full attention), then the family's period, then ``max_window_layers`` (Qwen: the layers from there on); else all have it.
    A chunk counts as a window: what a layer keeps is at most the chunk. A window that is not used, or no shorter than the
    context, is None.
    """
    size = _window_tokens(keys)
    if size is None:
        return [None] * num_layers
    return [size if is_windowed else None for is_windowed in _windowed_layers(keys, family, num_layers)]


def _window_tokens(keys: ConfigKeys) -> int | None:
    if not keys.flag_or(True, "use_sliding_window"):
        return None
    size = keys.count_or(0, "attention_chunk_size", "sliding_window")
    return size if 0 < size < keys.count("max_position_embeddings") else None


def _windowed_layers(keys: ConfigKeys, family: Family, num_layers: int) -> list[bool]:
    if keys.has("layer_types"):
        return [_is_windowed(keys, kind) for kind in keys.per_layer("layer_types", num_layers)]
    if keys.has("no_rope_layers") and keys.items("no_rope_layers"):
        return [bool(has_rope) for has_rope in keys.per_layer("no_rope_layers", num_layers)]
    if family.full_attention_period:
        period = keys.count_or(family.full_attention_period, "no_rope_layer_interval")
        return [(index + 1) % period != 0 for index in range(num_layers)]
    first = keys.count_or(0, "max_window_layers")
    return [index >= first for index in range(num_layers)]


def _is_windowed(keys: ConfigKeys, kind: object) -> bool:
    if not isinstance(kind, str) or kind not in _LAYER_TYPES:
        raise InputError(f"{keys.where}: key layer_types may hold {', '.join(sorted(_LAYER_TYPES))}, got {kind!r}")
    return kind != "full_attention"


def _grouped(keys: ConfigKeys, family: Family) -> AttentionWeights:
    hidden, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    kv_heads = keys.count("num_key_value_heads")
    head_dim = keys.count("head_dim") if keys.has("head_dim") else _divided(keys, hidden, heads)
    query, key_value = heads * head_dim, 2 * kv_heads * head_dim
    has_bias = keys.flag_or(False, "attention_bias") if family.attention_bias is None else keys.flag_or(family.attention_bias, "qkv_bias")
    queries = 2 * query if family.has_query_gate else query
    biases = (queries + key_value + (hidden if family.has_output_bias else 0)) if has_bias else 0
    return AttentionWeights(
        geometry=Attention(num_heads=heads, kv_elements_per_token=key_value, score_elements=query, value_elements=query),
        params=hidden * (queries + query) + hidden * key_value + biases + (heads if family.has_sinks else 0),
        norm_params=_qk_norm_params(keys, family, head_dim, query + key_value // 2),
    )


def _qk_norm_params(keys: ConfigKeys, family: Family, head_dim: int, full: int) -> int:
    if family.qk_norm == "full":
        return full
    has_norm = family.qk_norm == "head" or (family.qk_norm == "flag" and keys.flag_or(False, "use_qk_norm"))
    return 2 * head_dim if has_norm else 0


def _latent(keys: ConfigKeys) -> AttentionWeights:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), computed in its absorbed form.

    The cache holds the latent and one rotary key; scores are taken over both, and values are summed over the latent.
    """
    hidden, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    latent, rotary = keys.count("kv_lora_rank"), keys.count("qk_rope_head_dim")
    plain, value_dim = keys.count("qk_nope_head_dim"), keys.count("v_head_dim")
    query_rank = keys.count_or(0, "q_lora_rank")
    query = heads * (plain + rotary)
    query_params = hidden * query_rank + query_rank * query if query_rank else hidden * query
    biases = query_rank + latent + rotary + hidden if keys.flag_or(False, "attention_bias") else 0
    down, up = hidden * (latent + rotary), latent * heads * (plain + value_dim)
    return AttentionWeights(
        geometry=Attention(
            num_heads=heads,
            kv_elements_per_token=latent + rotary,
            score_elements=heads * (latent + rotary),
            value_elements=heads * latent,
            expanded_elements=query + heads * value_dim,
        ),
        params=query_params + down + up + heads * value_dim * hidden + biases,
        norm_params=query_rank + latent,
    )


def _divided(keys: ConfigKeys, hidden: int, heads: int) -> int:
    if hidden % heads:
        raise InputError(
            f"{keys.where}: hidden_size must be a multiple of num_attention_heads where head_dim is absent, got {hidden} and {heads}"
        )
    return hidden // heads
