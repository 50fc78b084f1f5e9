"""Configurations of every family in many shapes, drawn from a seed, and ways to spoil them."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from tests.sim import ling_and_grok

Config = dict[str, Any]


def generated(rng: random.Random, family: str) -> Config:
    """A small configuration of that family that its modelling class accepts."""
    return {"model_type": family, **_common(rng), **SHAPES[family](rng)}


def _common(rng: random.Random) -> Config:
    kv_heads = rng.choice([1, 2, 4])
    heads = kv_heads * rng.choice([1, 2, 3])
    return {
        "hidden_size": heads * 2 * rng.randint(1, 8),
        "num_hidden_layers": rng.randint(1, 6),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": rng.randint(8, 99),
        "max_position_embeddings": rng.choice([64, 4096]),
        "tie_word_embeddings": rng.random() < 0.3,
    }


def _flag(rng: random.Random) -> bool:
    return rng.random() < 0.5


def _experts(rng: random.Random, key: str) -> Config:
    count = rng.randint(1, 9)
    return {key: count, "num_experts_per_tok": rng.randint(1, count)}


def _sparse(rng: random.Random) -> Config:
    return {
        "intermediate_size": rng.randint(1, 40),
        "moe_intermediate_size": rng.randint(1, 20),
        "decoder_sparse_step": 1,
        "mlp_only_layers": rng.choice([[], [], [0]]),
        **_experts(rng, "num_experts"),
        "num_hidden_layers": rng.randint(2, 6),
    }


def _llama(rng: random.Random) -> Config:
    extra: Config = {"head_dim": rng.choice([2, 4, 6])} if _flag(rng) else {}
    biases = {"attention_bias": _flag(rng), "mlp_bias": _flag(rng)}
    return {"intermediate_size": rng.randint(1, 40), **biases, **extra}


def _qwen2(rng: random.Random) -> Config:
    return {"intermediate_size": rng.randint(1, 40)}


def _qwen2_moe(rng: random.Random) -> Config:
    shared = {"shared_expert_intermediate_size": rng.randint(1, 20)}
    return {**_sparse(rng), **shared, "qkv_bias": _flag(rng)}


def _qwen3_moe(rng: random.Random) -> Config:
    return {**_sparse(rng), "head_dim": rng.choice([2, 4, 6]), "attention_bias": _flag(rng)}


def _delta_net(rng: random.Random) -> Config:
    key_heads = rng.choice([1, 2])
    return {
        "linear_num_key_heads": key_heads,
        "linear_num_value_heads": key_heads * rng.choice([1, 2, 4]),
        "linear_key_head_dim": rng.choice([2, 4]),
        "linear_value_head_dim": rng.choice([2, 4, 6]),
        "linear_conv_kernel_dim": rng.choice([2, 4]),
    }


def _qwen3_next(rng: random.Random) -> Config:
    made = {**_qwen3_moe(rng), **_delta_net(rng)}
    made["shared_expert_intermediate_size"] = rng.randint(1, 20)
    kinds = ["full_attention", "linear_attention"]
    # transformers wants at least one layer with full attention
    drawn = [rng.choice(kinds) for _ in range(made["num_hidden_layers"] - 1)]
    return {**made, "layer_types": [*drawn, "full_attention"]}


def _qwen3_5_moe(rng: random.Random) -> Config:
    return {**_qwen3_next(rng), "mlp_only_layers": []}


def _qwen3_5(rng: random.Random) -> Config:
    layers = rng.randint(1, 5)
    kinds = [rng.choice(["full_attention", "linear_attention"]) for _ in range(layers)]
    return {
        "num_hidden_layers": layers + 1,
        "layer_types": [*kinds, "full_attention"],
        "head_dim": rng.choice([2, 4, 6]),
        "intermediate_size": rng.randint(1, 40),
        **_delta_net(rng),
    }


def _plain_moe(rng: random.Random) -> Config:
    return {"intermediate_size": rng.randint(1, 20), **_experts(rng, "num_local_experts")}


def _phimoe(rng: random.Random) -> Config:
    return {**_plain_moe(rng), "attention_bias": _flag(rng), "lm_head_bias": _flag(rng)}


def _olmoe(rng: random.Random) -> Config:
    width = {"intermediate_size": rng.randint(1, 20)}
    return {**width, **_experts(rng, "num_experts"), "attention_bias": _flag(rng)}


def _granitemoe(rng: random.Random) -> Config:
    return {**_plain_moe(rng), "attention_bias": _flag(rng)}


def _gpt_oss(rng: random.Random) -> Config:
    return {
        **_plain_moe(rng),
        "attention_bias": _flag(rng),
        "head_dim": rng.choice([2, 4, 8]),
        "sliding_window": rng.choice([16, 128]),
    }


def _llama4(rng: random.Random) -> Config:
    return {
        **_plain_moe(rng),
        "num_hidden_layers": rng.randint(2, 6),
        "head_dim": rng.choice([2, 4, 8]),
        "attention_bias": _flag(rng),
        "attention_chunk_size": rng.choice([16, 8192]),
        "interleave_moe_layer_step": rng.choice([1, 2]),
        "intermediate_size_mlp": rng.randint(1, 40),
    }


def _leading_dense(rng: random.Random) -> Config:
    layers = rng.randint(2, 6)
    return {
        "num_hidden_layers": layers,
        "first_k_dense_replace": rng.randint(0, layers - 1),
        "intermediate_size": rng.randint(1, 40),
        "moe_intermediate_size": rng.randint(1, 20),
        "n_shared_experts": rng.randint(1, 3),
        "n_group": 1,
        "topk_group": 1,
        **_experts(rng, "n_routed_experts"),
    }


def _deepseek(rng: random.Random) -> Config:
    made = _leading_dense(rng)
    heads = rng.choice([1, 2, 4])
    return {
        **made,
        "n_routed_experts": made["n_routed_experts"] + 1,
        "hidden_size": heads * rng.randint(1, 12),
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "kv_lora_rank": rng.randint(1, 12),
        "q_lora_rank": rng.choice([None, 3, 8]),
        "qk_rope_head_dim": rng.choice([2, 4]),
        "qk_nope_head_dim": rng.randint(1, 6),
        "v_head_dim": rng.randint(1, 6),
        "attention_bias": _flag(rng),
    }


def _glm4_moe(rng: random.Random) -> Config:
    made = _leading_dense(rng)
    return {
        **made,
        "n_routed_experts": made["n_routed_experts"] + 1,
        "head_dim": rng.choice([2, 4, 8]),
        "attention_bias": _flag(rng),
        "use_qk_norm": _flag(rng),
    }


def _qwen3(rng: random.Random) -> Config:
    width = {"intermediate_size": rng.randint(1, 40)}
    return {**width, "head_dim": rng.choice([2, 4, 6]), "attention_bias": _flag(rng)}


def _minimax_m2(rng: random.Random) -> Config:
    flags = {"use_qk_norm": True, "use_routing_bias": True}
    return {**_plain_moe(rng), **flags, "head_dim": rng.choice([2, 4, 8])}


def _dots1(rng: random.Random) -> Config:
    made = _leading_dense(rng)
    made["n_routed_experts"] += 1
    return {**made, "attention_bias": _flag(rng), "head_dim": rng.choice([2, 4, 8])}


def _ernie(rng: random.Random) -> Config:
    layers = rng.randint(2, 6)
    count = rng.randint(2, 9)
    return {
        "num_hidden_layers": layers,
        "intermediate_size": rng.randint(1, 40),
        "moe_intermediate_size": rng.randint(1, 20),
        "moe_num_experts": count,
        "moe_k": rng.randint(1, count),
        "moe_num_shared_experts": rng.randint(1, 3),
        "moe_layer_start_index": rng.randint(0, layers - 1),
        "moe_layer_end_index": rng.choice([-1, layers - 1]),
        "moe_layer_interval": 1,
        "use_bias": _flag(rng),
    }


def _hunyuan(rng: random.Random) -> Config:
    count = rng.randint(1, 9)
    return {
        "intermediate_size": rng.randint(1, 20),
        "num_experts": count,
        "moe_topk": rng.randint(1, count),
        "head_dim": rng.choice([2, 4, 8]),
        "attention_bias": _flag(rng),
    }


def _lite(rng: random.Random) -> Config:
    made = _deepseek(rng)
    layers = made["num_hidden_layers"]
    dense = made.pop("first_k_dense_replace")
    return {
        **made,
        "q_lora_rank": rng.randint(1, 8),
        "mlp_layer_types": ["dense"] * dense + ["sparse"] * (layers - dense),
    }


def _sparse_latent(rng: random.Random) -> Config:
    return {
        **_deepseek(rng),
        "q_lora_rank": rng.randint(1, 8),
        "index_n_heads": rng.randint(1, 4),
        "index_head_dim": rng.choice([4, 8]),
        "index_topk": rng.choice([4, 2048]),
    }


def _shared_indexers(rng: random.Random) -> Config:
    made = _sparse_latent(rng)
    layers = made["num_hidden_layers"]
    kinds = ["full", *(rng.choice(["full", "shared"]) for _ in range(layers - 1))]
    letters = "".join(kind[0].upper() for kind in kinds)
    steps = {"index_topk_freq": rng.randint(1, 4)}
    ways: list[Config] = [
        {},
        {"indexer_types": kinds, **steps},
        {"index_topk_pattern": letters},
        steps,
        {**steps, "index_skip_topk_offset": rng.randint(1, 3)},
    ]
    return {**made, "indexer_rope_interleave": True, **rng.choice(ways)}


def _lfm2_moe(rng: random.Random) -> Config:
    layers = rng.randint(2, 6)
    kinds = [rng.choice(["conv", "full_attention"]) for _ in range(layers - 1)]
    return {
        "num_hidden_layers": layers,
        "intermediate_size": rng.randint(1, 40),
        "moe_intermediate_size": rng.randint(1, 20),
        **_experts(rng, "num_experts"),
        "num_dense_layers": rng.randint(0, layers - 1),
        "use_expert_bias": _flag(rng),
        "conv_bias": _flag(rng),
        "conv_L_cache": rng.choice([2, 3, 4]),
        "layer_types": [*kinds, "full_attention"],
    }


def _jamba(rng: random.Random) -> Config:
    return {
        "intermediate_size": rng.randint(1, 20),
        **_experts(rng, "num_experts"),
        "num_hidden_layers": rng.randint(4, 8),
        "expert_layer_period": 2,
        "expert_layer_offset": rng.choice([0, 1]),
        "attn_layer_period": rng.choice([2, 4]),
        "attn_layer_offset": rng.choice([0, 1]),
        "mamba_d_state": rng.choice([2, 4]),
        "mamba_d_conv": rng.choice([2, 4]),
        "mamba_expand": rng.choice([1, 2]),
        "mamba_dt_rank": rng.choice(["auto", 3]),
        "mamba_conv_bias": _flag(rng),
        "mamba_proj_bias": _flag(rng),
    }


def _granite_hybrid(rng: random.Random) -> Config:
    layers = rng.randint(2, 6)
    kinds = [rng.choice(["mamba", "attention"]) for _ in range(layers - 2)]
    return {
        **_plain_moe(rng),
        "num_local_experts": rng.choice([0, 4]),
        "num_experts_per_tok": 2,
        "num_hidden_layers": layers,
        "layer_types": [*kinds, "mamba", "attention"],
        "shared_intermediate_size": rng.randint(1, 20),
        "hidden_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "mamba_n_heads": rng.choice([2, 4]),
        "mamba_n_groups": rng.choice([1, 2]),
        "mamba_d_state": rng.choice([2, 4]),
        "mamba_d_head": "auto",
        "mamba_d_conv": rng.choice([2, 4]),
        "mamba_expand": 2,
        "mamba_conv_bias": _flag(rng),
        "mamba_proj_bias": _flag(rng),
        "attention_bias": _flag(rng),
    }


def _nemotron_h(rng: random.Random) -> Config:
    layers = rng.randint(3, 7)
    return {
        # its class in transformers ties nothing, and no file of it says so
        "tie_word_embeddings": False,
        "num_hidden_layers": layers,
        "hybrid_override_pattern": "".join(rng.choice("M*-E") for _ in range(layers)),
        "intermediate_size": rng.randint(1, 40),
        "moe_intermediate_size": rng.randint(1, 20),
        "moe_shared_expert_intermediate_size": rng.randint(1, 20),
        "moe_latent_size": rng.choice([None, 6]),
        **_experts(rng, "n_routed_experts"),
        "head_dim": rng.choice([2, 4]),
        "mamba_num_heads": rng.choice([2, 4]),
        "mamba_head_dim": rng.choice([2, 4]),
        "n_groups": rng.choice([1, 2]),
        "ssm_state_size": rng.choice([2, 4]),
        "conv_kernel": rng.choice([2, 4]),
        "use_bias": _flag(rng),
        "use_conv_bias": _flag(rng),
        "mlp_bias": _flag(rng),
    }


def _mimo(rng: random.Random) -> Config:
    made = _leading_dense(rng)
    layers = made["num_hidden_layers"]
    dense = made.pop("first_k_dense_replace")
    made.pop("n_shared_experts")
    kinds = [rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers - 1)]
    return {
        **made,
        "n_routed_experts": made["n_routed_experts"] + 1,
        "num_attention_heads": 8,
        "num_key_value_heads": rng.choice([1, 2, 4]),
        "head_dim": rng.choice([4, 8]),
        "v_head_dim": rng.choice([2, 4]),
        "sliding_window": 16,
        "attention_bias": _flag(rng),
        "layer_types": ["full_attention", *kinds],
        "mlp_layer_types": ["dense"] * dense + ["sparse"] * (layers - dense),
    }


def _gemma4(rng: random.Random) -> Config:
    layers = rng.randint(2, 6)
    kinds = [rng.choice(["sliding_attention", "full_attention"]) for _ in range(layers - 1)]
    count = rng.randint(1, 6)
    experts = {
        "moe_intermediate_size": rng.randint(1, 20),
        "num_experts": count,
        "top_k_experts": rng.randint(1, count),
        "enable_moe_block": True,
    }
    return {
        "num_hidden_layers": layers,
        "layer_types": [*kinds, "full_attention"],
        "intermediate_size": rng.randint(1, 20),
        **(experts if _flag(rng) else {"enable_moe_block": False}),
        "hidden_size_per_layer_input": 0,
        "num_kv_shared_layers": 0,
        "head_dim": rng.choice([4, 8]),
        "global_head_dim": 16,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": _flag(rng),
        "sliding_window": 16,
        "tie_word_embeddings": True,
    }


def _step(rng: random.Random) -> Config:
    layers = rng.randint(3, 6)
    count = rng.randint(1, 6)
    kinds = [rng.choice(["sliding_attention", "full_attention"]) for _ in range(layers)]
    sparse = range(rng.randint(0, layers - 1), layers)
    return {
        "num_hidden_layers": layers,
        "layer_types": [*kinds, "full_attention"],
        "intermediate_size": rng.randint(1, 20),
        "moe_intermediate_size": rng.randint(1, 20),
        "share_expert_dim": rng.randint(1, 20),
        "moe_num_experts": count,
        "moe_top_k": rng.randint(1, count),
        "moe_layers_enum": ",".join(str(layer) for layer in sparse),
        "num_attention_heads": 4,
        "num_key_value_heads": None,
        "num_attention_groups": 2,
        "attention_other_setting": {"num_attention_heads": 8, "num_attention_groups": 2},
        "head_dim": rng.choice([4, 8]),
        "sliding_window": 16,
        "tie_word_embeddings": False,
    }


def _deepseek_v4(rng: random.Random) -> Config:
    layers = rng.randint(2, 6)
    return {
        "num_hidden_layers": layers,
        "compress_ratios": [rng.choice([0, 4, 128]) for _ in range(layers)],
        "num_hash_layers": rng.randint(0, layers),
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": rng.choice([8, 16]),
        "qk_rope_head_dim": 4,
        "q_lora_rank": rng.randint(1, 8),
        "o_groups": rng.choice([1, 2]),
        "o_lora_rank": rng.randint(1, 8),
        "hc_mult": rng.choice([2, 4]),
        "sliding_window": 16,
        "index_n_heads": rng.randint(1, 4),
        "index_head_dim": rng.choice([8, 16]),
        "index_topk": 4,
        "moe_intermediate_size": rng.randint(1, 20),
        "n_shared_experts": 1,
        **_experts(rng, "n_routed_experts"),
        "tie_word_embeddings": False,
    }


def _dbrx(rng: random.Random) -> Config:
    heads = rng.choice([2, 4])
    count = rng.randint(1, 6)
    return {
        "hidden_size": None,
        "max_position_embeddings": None,
        "num_hidden_layers": None,
        "num_attention_heads": None,
        "num_key_value_heads": None,
        "tie_word_embeddings": False,
        "d_model": heads * 2 * rng.randint(1, 8),
        "n_heads": heads,
        "n_layers": rng.randint(1, 5),
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": rng.choice([1, 2]), "rope_theta": 10000.0},
        "ffn_config": {
            "ffn_hidden_size": rng.randint(1, 20),
            "moe_num_experts": count,
            "moe_top_k": rng.randint(1, count),
        },
    }


def _gemma3(rng: random.Random) -> Config:
    tied: Config = {} if _flag(rng) else {"tie_word_embeddings": _flag(rng)}
    return {
        **tied,
        "intermediate_size": rng.randint(1, 40),
        "head_dim": rng.choice([2, 4, 6]),
        "attention_bias": _flag(rng),
        "sliding_window": 16,
    }


def _hy_v3(rng: random.Random) -> Config:
    layers = rng.randint(2, 5)
    kinds = [rng.choice(["dense", "sparse"]) for _ in range(layers - 1)]
    return {
        "num_hidden_layers": layers,
        "mlp_layer_types": [*kinds, "sparse"],
        "head_dim": rng.choice([2, 4]),
        "intermediate_size": rng.randint(1, 40),
        "moe_intermediate_size": rng.randint(1, 20),
        "num_shared_experts": rng.randint(1, 2),
        "attention_bias": _flag(rng),
        **_experts(rng, "num_experts"),
    }


def _solar_open(rng: random.Random) -> Config:
    return {
        "head_dim": rng.choice([2, 4]),
        "moe_intermediate_size": rng.randint(1, 20),
        "n_shared_experts": rng.randint(1, 2),
        "attention_bias": _flag(rng),
        **_experts(rng, "n_routed_experts"),
    }


def _minimax_m3(rng: random.Random) -> Config:
    layers = rng.randint(2, 5)
    sparse = [rng.choice([0, 1]) for _ in range(layers)]
    return {
        "num_hidden_layers": layers,
        "head_dim": rng.choice([2, 4]),
        "intermediate_size": rng.randint(1, 20),
        "dense_intermediate_size": rng.randint(1, 40),
        "shared_intermediate_size": rng.randint(1, 20),
        "moe_layer_freq": [*(rng.choice([0, 1]) for _ in range(layers - 1)), 1],
        "sparse_attention_config": {
            "sparse_attention_freq": sparse,
            "sparse_num_index_heads": rng.randint(1, 4),
            "sparse_index_dim": rng.choice([2, 4]),
            "sparse_block_size": 4,
            "sparse_topk_blocks": 2,
        },
        **_experts(rng, "num_local_experts"),
    }


SHAPES: Mapping[str, Callable[[random.Random], Config]] = {
    "dbrx": _dbrx,
    "deepseek_v4": _deepseek_v4,
    "deepseek_v32": _sparse_latent,
    "dots1": _dots1,
    "hy_v3": _hy_v3,
    "solar_open": _solar_open,
    "ernie4_5_moe": _ernie,
    "glm4_moe_lite": _lite,
    "glm_moe_dsa": _shared_indexers,
    "granitemoehybrid": _granite_hybrid,
    "hunyuan_v1_moe": _hunyuan,
    "jamba": _jamba,
    "lfm2_moe": _lfm2_moe,
    "mimo_v2_flash": _mimo,
    "minimax_m2": _minimax_m2,
    "minimax_m3": _minimax_m3,
    "nemotron_h": _nemotron_h,
    "qwen3": _qwen3,
    "qwen3_5": _qwen3_5,
    "qwen3_5_moe": _qwen3_5_moe,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "gemma3": _gemma3,
    "gemma4": _gemma4,
    "glm4_moe": _glm4_moe,
    "gpt_oss": _gpt_oss,
    "granitemoe": _granitemoe,
    "kimi_k2": _deepseek,
    "llama": _llama,
    "llama4": _llama4,
    "mixtral": _plain_moe,
    "olmoe": _olmoe,
    "phimoe": _phimoe,
    "qwen2": _qwen2,
    "step3p5": _step,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "qwen3_next": _qwen3_next,
    **ling_and_grok.SHAPES,
}
"""The keys of each family besides the common ones."""

_WRONG = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3,
    7,
    1.5,
    float("nan"),
    float("inf"),
    10**9,
    10**18,
    10**400,
    "",
    "12",
    "nonsense" * 50,
    "line\nbreak",
    [],
    [0],
    [1, 2, 3],
    [[1]],
    {},
    {"a": {"b": [1]}},
)
"""Values that a key may not have, or that mean something else."""

SETTINGS = (
    {"quant_method": "fp8", "weight_block_size": [128, 128]},
    {"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "gate"]},
    {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*attn.*": {}}},
    {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    {"quant_method": "bitsandbytes", "load_in_8bit": True},
    {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]},
    {"quant_method": "eetq"},
    {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]},
    {"quant_method": "hqq", "quant_config": {"nbits": 4, "group_size": 64}},
    {"quant_method": "exl3", "bits": 3.5, "head_bits": 6},
    {"bits": 4, "group_size": 64, "model.layers.0.mlp.gate": {"bits": 8, "group_size": 64}},
    {
        "quant_method": "compressed-tensors",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
            }
        },
        "ignore": ["lm_head", "re:.*self_attn.*"],
    },
    {
        "quant_method": "quark",
        "global_quant_config": {
            "weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32}
        },
        "exclude": ["lm_head"],
    },
)
"""Quantisation settings of the usual tools."""

_FOREIGN = (
    ("num_experts", 16),
    ("num_local_experts", 8),
    ("n_routed_experts", 4),
    ("moe_intermediate_size", 12),
    ("shared_expert_intermediate_size", 5),
    ("kv_lora_rank", 4),
    ("q_lora_rank", 6),
    ("attention_bias", True),
    ("use_qk_norm", True),
    ("mlp_bias", True),
    ("mamba_d_state", 16),
    ("conv_L_cache", 3),
    ("layer_types", ["linear_attention"]),
    ("vision_config", {"hidden_size": 8}),
    ("num_nextn_predict_layers", 1),
    ("torch_dtype", "float32"),
)
"""Keys of other families, and parts that are left out."""


def spoiled(rng: random.Random, config: Config) -> Config:
    """The configuration with one to three keys dropped, replaced, added, or nested."""
    result = dict(config)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(sorted(result)) if result else "model_type"
        kind = rng.randrange(5)
        if kind == 0:
            result.pop(name, None)
        elif kind == 1:
            result[name] = rng.choice(_WRONG)
        elif kind == 2:
            foreign, value = rng.choice(_FOREIGN)
            result[foreign] = value
        elif kind == 3:
            result["quantization_config"] = _spoiled_settings(rng)
        else:
            result["text_config"] = rng.choice([{name: result.get(name)}, dict(result), *_WRONG])
    return result


def _spoiled_settings(rng: random.Random) -> Any:
    settings: dict[str, Any] = dict(rng.choice(SETTINGS))
    name = rng.choice(sorted(settings))
    if rng.random() < 0.5:
        settings[name] = rng.choice(_WRONG)
    else:
        settings.pop(name)
    return rng.choice([settings, settings, settings, rng.choice(_WRONG)])
