"""Ling and Ring of all generations, Kimi-Linear and Grok: configurations of public models,
generated ones, and an independent count of a layer's weights (see plain_count.py).
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

Keys = Mapping[str, Any]

_LING = {
    "vocab_size": 157184,
    "num_experts_per_tok": 8,
    "num_shared_experts": 1,
    "moe_router_enable_expert_bias": True,
    "head_dim": 128,
    "tie_word_embeddings": False,
    "use_bias": False,
    "use_qkv_bias": False,
}
_LATENTS = {
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_head_dim": 192,
}
_LING_MINI = {
    **_LING,
    "model_type": "bailing_moe",
    "architectures": ["BailingMoeV2ForCausalLM"],
    "num_hidden_layers": 20,
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 512,
    "moe_shared_expert_intermediate_size": 512,
    "num_experts": 256,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "use_qk_norm": True,
    "partial_rotary_factor": 0.5,
    "max_position_embeddings": 32768,
}
_LING_3 = {
    **_LING,
    **_LATENTS,
    "model_type": "bailing_hybrid",
    "architectures": ["BailingMoeV3ForCausalLM"],
    "gated_attention_proj_granularity_type": "head_wise",
    "short_conv_kernel_size": 4,
    "no_kda_lora": True,
    "kda_safe_gate": True,
    "kda_lower_bound": -5.0,
    "num_nextn_predict_layers": 1,
}

MODELS: dict[str, dict[str, Any]] = {
    # config.json of inclusionAI/Ling-lite-1.5
    "Ling-lite-1.5": {
        "model_type": "bailing_moe",
        "first_k_dense_replace": 0,
        "hidden_size": 2048,
        "intermediate_size": 1408,
        "moe_intermediate_size": 1408,
        "num_experts": 64,
        "num_shared_experts": 2,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "num_experts_per_tok": 6,
        "num_hidden_layers": 28,
        "tie_word_embeddings": False,
        "use_bias": False,
        "use_qkv_bias": False,
        "norm_head": False,
        "vocab_size": 126464,
        "max_position_embeddings": 32768,
    },
    # config.json of inclusionAI/Ling-mini-2.0
    "Ling-mini-2.0": _LING_MINI,
    # inclusionAI/Ring-mini-linear-2.0: Ling-mini-2.0 with linear attention in four of five layers;
    # groups as in the defaults of its configuration class
    "Ring-mini-linear-2.0": {
        **_LING_MINI,
        "model_type": "bailing_moe_linear",
        "layer_group_size": 5,
        "group_norm_size": 4,
    },
    # config.json of inclusionAI/Ling-2.6-flash, as OsaurusAI/Ling-2.6-flash-MXFP4 repeats it
    "Ling-2.6-flash": {
        **_LING,
        **_LATENTS,
        "model_type": "bailing_hybrid",
        "architectures": ["BailingMoeV2_5ForCausalLM"],
        "first_k_dense_replace": 1,
        "group_norm_size": 4,
        "hidden_size": 4096,
        "intermediate_size": 9216,
        "layer_group_size": 8,
        "max_position_embeddings": 131072,
        "moe_intermediate_size": 1024,
        "moe_shared_expert_intermediate_size": 1024,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "num_kv_heads_for_linear_attn": 32,
        "num_experts": 256,
        "num_hidden_layers": 32,
        "num_nextn_predict_layers": 1,
        "q_lora_rank": 1536,
        "use_qk_norm": True,
    },
    # defaults of transformers 5.23.0's class, whose checkpoint is inclusionAI/Ling-3.0-Flash
    "Ling-3.0-flash": {
        **_LING_3,
        "first_k_dense_replace": 2,
        "hidden_size": 2560,
        "intermediate_size": 6144,
        "layer_group_size": 6,
        "max_position_embeddings": 262144,
        "moe_intermediate_size": 768,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "num_experts": 512,
        "num_hidden_layers": 42,
        "q_lora_rank": None,
    },
    # config.json of moonshotai/Kimi-Linear-48B-A3B-Instruct
    "Kimi-Linear-48B-A3B": {
        **_LATENTS,
        "model_type": "kimi_linear",
        "first_k_dense_replace": 1,
        "head_dim": 72,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "linear_attn_config": {
            "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
            "head_dim": 128,
            "kda_layers": [
                *(1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26)
            ],
            "num_heads": 32,
            "short_conv_kernel_size": 4,
        },
        "mla_use_nope": True,
        "model_max_length": 1048576,
        "moe_intermediate_size": 1024,
        "moe_layer_freq": 1,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "num_expert_group": 1,
        "num_experts": 256,
        "num_experts_per_token": 8,
        "num_hidden_layers": 27,
        "num_shared_experts": 1,
        "q_lora_rank": None,
        "tie_word_embeddings": False,
        "use_grouped_topk": True,
        "vocab_size": 163840,
    },
    # config.json of hpcai-tech/grok-1, which has no model_type
    "grok-1": {
        "architectures": ["Grok1ModelForCausalLM"],
        "vocab_size": 131072,
        "hidden_size": 6144,
        "intermediate_size": 32768,
        "num_hidden_layers": 64,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "num_experts_per_tok": 2,
        "num_experts": 8,
        "router_aux_loss_coef": 0.001,
    },
    # config.json of xai-org/grok-2, as jhpristine/grok-2 repeats it
    "grok-2": {
        "architectures": ["Grok1ForCausalLM"],
        "model_type": "git",
        "vocab_size": 131072,
        "hidden_size": 8192,
        "intermediate_size": 32768,
        "moe_intermediate_size": 16384,
        "max_position_embeddings": 131072,
        "num_experts_per_tok": 2,
        "num_local_experts": 8,
        "residual_moe": True,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "num_hidden_layers": 64,
        "head_dim": 128,
        "sliding_window_size": -1,
        "global_attn_every_n": 1,
    },
}


def _experts(keys: Keys) -> int:
    """The experts of a layer of Ling, its router and its shared expert."""
    hidden = keys["hidden_size"]
    width = keys["moe_intermediate_size"]
    shared = keys.get("moe_shared_expert_intermediate_size", width) * keys["num_shared_experts"]
    routed = keys["num_experts"] * (hidden + 3 * hidden * width)
    correction = keys["num_experts"] if keys.get("moe_router_enable_expert_bias") else 0
    return routed + 3 * hidden * shared + correction


def _layers(keys: Keys, mixers: list[int], block: int) -> list[int]:
    """Each layer with its mixer: leading dense ones, then experts."""
    hidden = keys["hidden_size"]
    first = keys["first_k_dense_replace"]
    dense = 3 * hidden * keys["intermediate_size"] if first else 0
    return [
        2 * hidden + mixer + (dense if index < first else block)
        for index, mixer in enumerate(mixers)
    ]


def _grouped(keys: Keys) -> int:
    hidden = keys["hidden_size"]
    heads = keys["num_attention_heads"]
    dim = keys.get("head_dim", hidden // heads)
    rows = (heads + 2 * keys["num_key_value_heads"]) * dim
    total = rows * (hidden + bool(keys.get("use_qkv_bias")))
    total += hidden * (heads * dim + bool(keys.get("use_bias")))
    return total + (2 * dim if keys.get("use_qk_norm") else 0)


def _latent(keys: Keys, gated: bool) -> int:
    hidden = keys["hidden_size"]
    heads = keys["num_attention_heads"]
    rank = keys["kv_lora_rank"]
    rope = keys["qk_rope_head_dim"]
    width = heads * (keys["qk_nope_head_dim"] + rope)
    inner = keys.get("q_lora_rank") or 0
    queries = inner * (hidden + 1 + width) if inner else hidden * width
    keys_and_values = hidden * (rank + rope) + rank
    keys_and_values += rank * heads * (keys["qk_nope_head_dim"] + keys["v_head_dim"])
    gate = hidden * heads if gated else 0
    biases = rank + rope + hidden + inner if keys.get("attention_bias") else 0
    return queries + keys_and_values + gate + biases + hidden * heads * keys["v_head_dim"]


def _lightning(keys: Keys) -> int:
    hidden = keys["hidden_size"]
    width = keys["num_attention_heads"] * keys["head_dim"]
    total = 3 * width * (hidden + bool(keys.get("use_qkv_bias")))
    total += hidden * (width + bool(keys.get("use_bias"))) + hidden * width + width
    return total + (2 * keys["head_dim"] if keys.get("use_qk_norm") else 0)


def _delta(hidden: int, heads: int, dim: int, kernel: int, low_rank: bool) -> int:
    width = heads * dim
    gate = hidden * dim + dim * width if low_rank else hidden * width
    products = 4 * hidden * width + hidden * heads + 2 * gate
    return products + 3 * width * kernel + width + heads + dim


def _ling(keys: Keys) -> list[int]:
    return _layers(keys, [_grouped(keys)] * keys["num_hidden_layers"], _experts(keys))


def _mixed(keys: Keys, full: int, linear: int) -> list[int]:
    count = keys["num_hidden_layers"]
    size = keys["layer_group_size"]
    whole = count // size * size
    mixers = [full if at >= whole or (at + 1) % size == 0 else linear for at in range(count)]
    return _layers(keys, mixers, _experts(keys))


def _ling_linear(keys: Keys) -> list[int]:
    return _mixed(keys, _grouped(keys), _lightning(keys))


def _ling_hybrid(keys: Keys) -> list[int]:
    kernel = keys.get("short_conv_kernel_size")
    if kernel is None:
        return _mixed(keys, _latent(keys, False), _lightning(keys))
    low_rank = not keys.get("no_kda_lora", True)
    heads = keys["num_attention_heads"]
    linear = _delta(keys["hidden_size"], heads, keys["head_dim"], kernel, low_rank)
    return _mixed(keys, _latent(keys, True), linear)


def _kimi_linear(keys: Keys) -> list[int]:
    own = keys["linear_attn_config"]
    linear = _delta(
        keys["hidden_size"], own["num_heads"], own["head_dim"], own["short_conv_kernel_size"], True
    )
    full = _latent(keys, False)
    count = keys["num_hidden_layers"]
    mixers = [linear if index + 1 in own["kda_layers"] else full for index in range(count)]
    return _layers(keys, mixers, _experts({**keys, "moe_router_enable_expert_bias": True}))


def _grok(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    own = "moe_intermediate_size"
    width = keys[own if own in keys else "intermediate_size"]
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    experts = next(keys[name] for name in names if name in keys)
    total = _grouped(keys) + 4 * hidden + experts * (hidden + 3 * hidden * width)
    if keys.get("residual_moe"):
        total += 3 * hidden * keys["intermediate_size"]
    return [total] * keys["num_hidden_layers"]


LAYERS: dict[str, Callable[[Keys], list[int]]] = {
    "bailing_moe": _ling,
    "bailing_moe_linear": _ling_linear,
    "bailing_hybrid": _ling_hybrid,
    "kimi_linear": _kimi_linear,
    "grok": _grok,
}
"""The weights of each layer, by family."""

WITHOUT_CLASS = frozenset({"bailing_moe", "bailing_moe_linear", "grok"})
"""Families that transformers 5.23.0 has no class of."""


def _flag(rng: random.Random) -> bool:
    return rng.random() < 0.5


def _ling_shape(rng: random.Random) -> dict[str, Any]:
    layers = rng.randint(2, 6)
    count = rng.randint(2, 9)
    return {
        "num_hidden_layers": layers,
        "first_k_dense_replace": rng.randint(0, layers - 1),
        "intermediate_size": rng.randint(1, 40),
        "moe_intermediate_size": rng.randint(1, 20),
        "num_shared_experts": rng.randint(1, 2),
        "num_experts": count,
        "num_experts_per_tok": rng.randint(1, count),
        "moe_router_enable_expert_bias": _flag(rng),
        "use_qk_norm": _flag(rng),
        "use_qkv_bias": _flag(rng),
        "use_bias": _flag(rng),
        "head_dim": rng.choice([2, 4, 8]),
    }


def _linear_shape(rng: random.Random) -> dict[str, Any]:
    return {**_ling_shape(rng), "layer_group_size": rng.randint(1, 3), "group_norm_size": 1}


def _latent_shape(rng: random.Random) -> dict[str, Any]:
    return {
        "kv_lora_rank": rng.randint(1, 12),
        "q_lora_rank": None,
        "qk_rope_head_dim": rng.choice([2, 4]),
        "qk_nope_head_dim": rng.randint(1, 6),
        "v_head_dim": rng.randint(1, 6),
    }


def _hybrid_shape(rng: random.Random) -> dict[str, Any]:
    """The third generation without biases, which its class always builds a correction for."""
    made = {**_linear_shape(rng), **_latent_shape(rng)}
    for name in ("use_qk_norm", "use_qkv_bias", "use_bias", "group_norm_size"):
        del made[name]
    # its class has no layers but of whole groups where the last is unfinished
    size = rng.choice([1, 2, 3])
    return {
        **made,
        "tie_word_embeddings": False,
        "num_hidden_layers": size * 2,
        "first_k_dense_replace": rng.randint(0, size),
        "layer_group_size": size,
        "moe_router_enable_expert_bias": True,
        "short_conv_kernel_size": rng.choice([2, 4]),
        "no_kda_lora": True,
    }


def _kimi_shape(rng: random.Random) -> dict[str, Any]:
    made = {**_ling_shape(rng), **_latent_shape(rng)}
    for name in ("moe_router_enable_expert_bias", "use_qk_norm", "use_qkv_bias", "use_bias"):
        del made[name]
    layers = list(range(1, made["num_hidden_layers"] + 1))
    linear = sorted(rng.sample(layers, len(layers) // 2))
    section = {
        "full_attn_layers": [layer for layer in layers if layer not in linear],
        "kda_layers": linear,
        "num_heads": rng.randint(1, 4),
        "head_dim": rng.choice([2, 4]),
        "short_conv_kernel_size": rng.choice([2, 4]),
    }
    # neither class ties the head, and no file says so
    return {**made, "linear_attn_config": section, "tie_word_embeddings": False}


def _grok_shape(rng: random.Random) -> dict[str, Any]:
    count = rng.randint(1, 9)
    return {
        "intermediate_size": rng.randint(1, 20),
        "moe_intermediate_size": rng.randint(1, 20),
        "residual_moe": _flag(rng),
        "num_local_experts": count,
        "num_experts_per_tok": rng.randint(1, count),
        "head_dim": rng.choice([2, 4, 8]),
    }


SHAPES: Mapping[str, Callable[[random.Random], dict[str, Any]]] = {
    "bailing_moe": _ling_shape,
    "bailing_moe_linear": _linear_shape,
    "bailing_hybrid": _hybrid_shape,
    "kimi_linear": _kimi_shape,
    "grok": _grok_shape,
}
"""The keys of each family besides the common ones (see generated_configs.py)."""
