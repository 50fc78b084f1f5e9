"""An independent count of a decoder's weights: plain sums over shapes, which share nothing with the importer.

``plain_total`` reads the keys of a configuration directly. tests/sim/test_import_fuzz.py holds the
importer against it, and it against the modelling classes of transformers.
"""

from collections.abc import Callable, Mapping
from typing import Any

Keys = Mapping[str, Any]


def plain_total(config: Keys) -> int:
    """All weights of the decoder that the configuration describes."""
    keys = flat(config)
    body = sum(LAYERS[keys["model_type"].removesuffix("_text")](keys))
    table = keys["vocab_size"] * keys["hidden_size"]
    is_phi = keys["model_type"] == "phimoe"
    head = 0 if keys.get("tie_word_embeddings") else table
    bias = keys["vocab_size"] if is_phi and keys["lm_head_bias"] else 0
    final = keys["hidden_size"] * (2 if is_phi else 1)
    return body + table + head + bias + final


def flat(config: Keys) -> dict[str, Any]:
    """The keys of a nested text part over those of the top, nulls left out."""
    nested = config.get("text_config") or {}
    merged = {**config, **{name: value for name, value in nested.items() if value is not None}}
    return {name: value for name, value in merged.items() if value is not None}


def _grouped(keys: Keys, *, bias: bool = False, out_bias: bool = False, norm: str = "", gate: bool = False) -> int:
    hidden = keys["hidden_size"]
    heads = keys["num_attention_heads"]
    kv_heads = keys["num_key_value_heads"]
    dim = keys["head_dim"] if "head_dim" in keys else hidden // heads
    q_rows = heads * dim * (2 if gate else 1)
    kv_rows = 2 * kv_heads * dim
    total = (q_rows + kv_rows) * (hidden + bias) + hidden * (heads * dim + out_bias)
    return total + {"": 0, "head": 2 * dim, "full": (heads + kv_heads) * dim}[norm]


def _latent(keys: Keys) -> int:
    hidden = keys["hidden_size"]
    heads = keys["num_attention_heads"]
    rank = keys["kv_lora_rank"]
    rope = keys["qk_rope_head_dim"]
    bias = bool(keys.get("attention_bias"))
    q_width = heads * (keys["qk_nope_head_dim"] + rope)
    q_rank = keys.get("q_lora_rank") or 0
    queries = hidden * q_width
    if q_rank:
        queries = q_rank * (hidden + bias) + q_rank + q_rank * q_width
    compressed = (rank + rope) * (hidden + bias) + rank
    expanded = rank * heads * (keys["qk_nope_head_dim"] + keys["v_head_dim"])
    return queries + compressed + expanded + hidden * (heads * keys["v_head_dim"] + bias)


def _experts(keys: Keys) -> int:
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    return int(next(keys[name] for name in names if name in keys))


def _moe(keys: Keys, width: int, shared: int = 0, per_expert: int = 0, gate: bool = False) -> int:
    hidden = keys["hidden_size"]
    routed = _experts(keys) * (hidden + per_expert + 3 * hidden * width)
    return routed + 3 * hidden * shared + (hidden if gate and shared else 0)


def _every(keys: Keys, attention: int, feed_forward: int) -> list[int]:
    return [2 * keys["hidden_size"] + attention + feed_forward] * keys["num_hidden_layers"]


def _mixed(keys: Keys, attention: int, routes: Callable[[int], bool], moe: int) -> list[int]:
    hidden = keys["hidden_size"]
    layers = []
    for layer in range(keys["num_hidden_layers"]):
        feed_forward = moe if routes(layer) else 3 * hidden * keys["intermediate_size"]
        layers.append(2 * hidden + attention + feed_forward)
    return layers


def _sparse_step(keys: Keys) -> Callable[[int], bool]:
    step = keys.get("decoder_sparse_step", 1) or 1
    only = keys.get("mlp_only_layers", ())
    return lambda layer: layer not in only and (layer + 1) % step == 0


def _after_dense(keys: Keys) -> Callable[[int], bool]:
    step = keys.get("moe_layer_freq", 1) or 1
    return lambda layer: layer >= keys["first_k_dense_replace"] and layer % step == 0


def _llama(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    width = keys["intermediate_size"]
    mlp = 3 * keys["hidden_size"] * width
    if keys.get("mlp_bias"):
        mlp += 2 * width + keys["hidden_size"]
    return _every(keys, _grouped(keys, bias=bias, out_bias=bias), mlp)


def _qwen2(keys: Keys) -> list[int]:
    mlp = 3 * keys["hidden_size"] * keys["intermediate_size"]
    return _every(keys, _grouped(keys, bias=True), mlp)


def _qwen2_moe(keys: Keys) -> list[int]:
    moe = _moe(
        keys,
        keys["moe_intermediate_size"],
        shared=keys["shared_expert_intermediate_size"],
        gate=True,
    )
    attention = _grouped(keys, bias=keys.get("qkv_bias", True))
    return _mixed(keys, attention, _sparse_step(keys), moe)


def _qwen3_moe(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    attention = _grouped(keys, bias=bias, out_bias=bias, norm="head")
    return _mixed(keys, attention, _sparse_step(keys), _moe(keys, keys["moe_intermediate_size"]))


def _delta_net(keys: Keys) -> int:
    heads = keys["linear_num_value_heads"]
    k_width = keys["linear_num_key_heads"] * keys["linear_key_head_dim"]
    v_width = heads * keys["linear_value_head_dim"]
    mixed = 2 * k_width + v_width
    inputs = keys["hidden_size"] * (mixed + v_width + heads + heads)
    conv = mixed * keys["linear_conv_kernel_dim"]
    return inputs + conv + v_width * keys["hidden_size"] + 2 * heads + keys["linear_value_head_dim"]


def _qwen3_next(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    full = _grouped(keys, bias=bias, out_bias=bias, norm="head", gate=True)
    shared = keys["shared_expert_intermediate_size"]
    moe = _moe(keys, keys["moe_intermediate_size"], shared=shared, gate=True)
    layers = _mixed(keys, 0, _sparse_step(keys), moe)
    for index in range(len(layers)):
        if "layer_types" in keys:
            is_full = keys["layer_types"][index] == "full_attention"
        else:
            is_full = (index + 1) % keys["full_attention_interval"] == 0
        layers[index] += full if is_full else _delta_net(keys)
    return layers


def _mixtral(keys: Keys) -> list[int]:
    return _every(keys, _grouped(keys), _moe(keys, keys["intermediate_size"]))


def _phimoe(keys: Keys) -> list[int]:
    bias = keys["attention_bias"]
    attention = _grouped(keys, bias=bias, out_bias=bias) + 2 * keys["hidden_size"]
    return _every(keys, attention, _moe(keys, keys["intermediate_size"]))


def _olmoe(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    attention = _grouped(keys, bias=bias, out_bias=bias, norm="full")
    return _every(keys, attention, _moe(keys, keys["intermediate_size"]))


def _granitemoe(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    attention = _grouped(keys, bias=bias, out_bias=bias)
    return _every(keys, attention, _moe(keys, keys["intermediate_size"]))


def _gpt_oss(keys: Keys) -> list[int]:
    bias = keys["attention_bias"]
    attention = _grouped(keys, bias=bias, out_bias=bias) + keys["num_attention_heads"]
    width = keys["intermediate_size"]
    per_expert = 1 + 2 * width + keys["hidden_size"]
    return _every(keys, attention, _moe(keys, width, per_expert=per_expert))


def _llama4(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    attention = _grouped(keys, bias=bias, out_bias=bias)
    width = keys["intermediate_size"]
    moe = _moe(keys, width, shared=width)
    step = keys["interleave_moe_layer_step"]
    listed = keys.get("moe_layers") or range(step - 1, keys["num_hidden_layers"], step)
    dense_keys = {**keys, "intermediate_size": keys["intermediate_size_mlp"]}
    return _mixed(dense_keys, attention, lambda layer: layer in listed, moe)


def _deepseek(keys: Keys, per_expert: int) -> list[int]:
    width = keys["moe_intermediate_size"]
    moe = _moe(keys, width, shared=keys["n_shared_experts"] * width, per_expert=per_expert)
    return _mixed(keys, _latent(keys), _after_dense(keys), moe)


def _glm4_moe(keys: Keys) -> list[int]:
    norm = "head" if keys.get("use_qk_norm") else ""
    attention = _grouped(keys, bias=keys["attention_bias"], norm=norm)
    width = keys["moe_intermediate_size"]
    moe = _moe(keys, width, shared=keys["n_shared_experts"] * width, per_expert=1)
    return _mixed(keys, attention, _after_dense(keys), moe)


LAYERS: dict[str, Callable[[Keys], list[int]]] = {
    "deepseek_v2": lambda keys: _deepseek(keys, 0),
    "deepseek_v3": lambda keys: _deepseek(keys, 1),
    "glm4_moe": _glm4_moe,
    "gpt_oss": _gpt_oss,
    "granitemoe": _granitemoe,
    "kimi_k2": lambda keys: _deepseek(keys, 1),
    "llama": _llama,
    "llama4": _llama4,
    "mixtral": _mixtral,
    "olmoe": _olmoe,
    "phimoe": _phimoe,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "qwen3_next": _qwen3_next,
}
"""The weights of each layer, by family."""
