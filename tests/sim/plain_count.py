"""An independent count of a decoder's weights: plain sums over shapes, which share nothing with the
importer.

``plain_total`` reads the keys of a configuration directly. tests/sim/test_import_fuzz.py holds the
importer against it, and it against the modelling classes of transformers.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tests.sim import ling_and_grok

Keys = Mapping[str, Any]


def plain_total(config: Keys) -> int:
    """All weights of the decoder that the configuration describes."""
    keys = flat(config)
    keys.setdefault("hidden_size", keys.get("d_model"))
    if keys["model_type"].startswith("gemma3"):
        keys = {**_GEMMA3_LEAVES_OUT, **keys}
    body = sum(LAYERS[keys["model_type"].removesuffix("_text")](keys))
    table = keys["vocab_size"] * keys["hidden_size"]
    is_phi = keys["model_type"] == "phimoe"
    # Grok-1's files may leave the key out, and its embedding is its head.
    is_grok_1 = keys["model_type"] == "grok" and not keys.get("residual_moe")
    # Gemma 3 ties them unless its file says otherwise.
    ties = is_grok_1 or keys["model_type"].startswith("gemma3")
    tied = keys.get("tie_word_embeddings", keys.get("tie_embedding", ties))
    head = 0 if tied else table
    has_bias = (is_phi and keys["lm_head_bias"]) or (
        keys["model_type"].startswith("ernie") and keys.get("use_bias")
    )
    bias = keys["vocab_size"] if has_bias else 0
    final = keys["hidden_size"] * (2 if is_phi else 1)
    return body + table + head + bias + final


def flat(config: Keys) -> dict[str, Any]:
    """The keys of a nested text part over those of the top, nulls left out."""
    nested = config.get("text_config") or {}
    merged = {**config, **{name: value for name, value in nested.items() if value is not None}}
    return {name: value for name, value in merged.items() if value is not None}


def _grouped(
    keys: Keys, *, bias: bool = False, out_bias: bool = False, norm: str = "", gate: bool = False
) -> int:
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
    shared = keys["shared_expert_intermediate_size"]
    moe = _moe(keys, keys["moe_intermediate_size"], shared=shared, gate=True)
    return _with_delta_nets(keys, _mixed(keys, 0, _sparse_step(keys), moe))


def _qwen3_5(keys: Keys) -> list[int]:
    """The dense family: its class has no experts, whatever other keys say."""
    return _with_delta_nets(
        keys, _every(keys, 0, 3 * keys["hidden_size"] * keys["intermediate_size"])
    )


def _with_delta_nets(keys: Keys, layers: list[int]) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    gate = keys.get("attn_output_gate", True)
    full = _grouped(keys, bias=bias, out_bias=bias, norm="head", gate=gate)
    mixers = []
    for index in range(len(layers)):
        if "layer_types" in keys:
            is_full = keys["layer_types"][index] == "full_attention"
        else:
            is_full = (index + 1) % keys["full_attention_interval"] == 0
        mixers.append(full if is_full else _delta_net(keys))
    return [size + mixer for size, mixer in zip(layers, mixers, strict=True)]


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


def _qwen3(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    attention = _grouped(keys, bias=bias, out_bias=bias, norm="head")
    return _every(keys, attention, 3 * keys["hidden_size"] * keys["intermediate_size"])


def _minimax_m2(keys: Keys) -> list[int]:
    norm = "full" if keys.get("use_qk_norm", True) else ""
    per_expert = 1 if keys.get("use_routing_bias", True) else 0
    moe = _moe(keys, keys["intermediate_size"], per_expert=per_expert)
    return _every(keys, _grouped(keys, norm=norm), moe)


def _dots1(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    width = keys["moe_intermediate_size"]
    shared = keys.get("n_shared_experts", keys.get("num_shared_experts", 0)) * width
    moe = _moe(keys, width, shared=shared, per_expert=1)
    attention = _grouped(keys, bias=bias, out_bias=bias, norm="head")
    kinds = keys.get("mlp_layer_types")
    routes = (lambda layer: kinds[layer] == "sparse") if kinds else _after_dense(keys)
    return _mixed(keys, attention, routes, moe)


def _solar_open(keys: Keys) -> list[int]:
    width = keys["moe_intermediate_size"]
    moe = _moe(keys, width, shared=keys["n_shared_experts"] * width, per_expert=1)
    bias = bool(keys.get("attention_bias"))
    norm = "head" if keys.get("use_qk_norm") else ""
    return _every(keys, _grouped(keys, bias=bias, norm=norm), moe)


def _ernie(keys: Keys) -> list[int]:
    bias = bool(keys.get("use_bias"))
    hidden = keys["hidden_size"]
    width = keys["moe_intermediate_size"]
    shared = keys["moe_num_shared_experts"] * width
    moe = keys["moe_num_experts"] * (hidden + 1 + 3 * hidden * width) + 3 * hidden * shared
    moe += bias * (2 * shared + hidden) if shared else 0
    last = keys.get("moe_layer_end_index", -1)
    last = keys["num_hidden_layers"] - 1 if last == -1 else last
    step = keys.get("moe_layer_interval", 1) or 1

    def routes(layer: int) -> bool:
        return keys["moe_layer_start_index"] <= layer <= last and (layer + 1) % step == 0

    layers = _mixed(keys, _grouped(keys, bias=bias, out_bias=bias), routes, moe)
    for index in range(len(layers)):
        if bias and not routes(index):
            layers[index] += 2 * keys["intermediate_size"] + hidden
    return layers


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, list) else value)


def _hunyuan(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    width = _one(keys.get("moe_intermediate_size", keys["intermediate_size"]))
    shared = keys["intermediate_size"] * _one(keys.get("num_shared_expert", 1))
    counted = {**keys, "num_local_experts": _one(keys["num_experts"])}
    norm = "head" if keys.get("use_qk_norm", True) else ""
    attention = _grouped(keys, bias=bias, out_bias=bias, norm=norm)
    return _every(keys, attention, _moe(counted, width, shared=shared))


def _lite(keys: Keys) -> list[int]:
    if "mlp_layer_types" not in keys:
        return _deepseek(keys, 1)
    kinds = keys["mlp_layer_types"]
    width = keys["moe_intermediate_size"]
    moe = _moe(keys, width, shared=keys["n_shared_experts"] * width, per_expert=1)
    return _mixed(keys, _latent(keys), lambda layer: kinds[layer] == "sparse", moe)


def _have_indexers(keys: Keys) -> list[bool]:
    if "indexer_types" in keys:
        return [kind == "full" for kind in keys["indexer_types"]]
    if "index_topk_pattern" in keys:
        return [letter == "F" for letter in keys["index_topk_pattern"]]
    offset = keys.get("index_skip_topk_offset", 2)
    frequency = keys.get("index_topk_freq", 1)
    layers = range(keys["num_hidden_layers"])
    return [max(layer - offset + 1, 0) % frequency == 0 for layer in layers]


def _sparse_latent(keys: Keys) -> list[int]:
    heads = keys["index_n_heads"]
    dim = keys["index_head_dim"]
    indexer = keys["q_lora_rank"] * heads * dim + keys["hidden_size"] * (dim + heads) + 2 * dim
    own = [indexer if has_own else 0 for has_own in _have_indexers(keys)]
    return [size + more for size, more in zip(_lite(keys), own, strict=True)]


def _lfm2_moe(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    bias = bool(keys.get("conv_bias"))
    conv = 4 * hidden * (hidden + bias) + hidden * (keys["conv_L_cache"] + bias)
    moe = _moe(keys, keys["moe_intermediate_size"], per_expert=int(keys["use_expert_bias"]))
    layers = _mixed(keys, 0, lambda layer: layer >= keys["num_dense_layers"], moe)
    attention = _grouped(keys, norm="head")
    mixers = [attention if kind == "full_attention" else conv for kind in keys["layer_types"]]
    return [size + mixer for size, mixer in zip(layers, mixers, strict=True)]


def _jamba(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    inner = keys["mamba_expand"] * hidden
    state = keys["mamba_d_state"]
    rank = keys["mamba_dt_rank"]
    rank = -(-hidden // 16) if rank == "auto" else rank
    bias = bool(keys.get("mamba_proj_bias"))
    mamba = hidden * 2 * inner + bias * (2 * inner + hidden) + inner * (rank + 2 * state)
    mamba += rank * inner + inner + inner * hidden + inner * state + inner + rank + 2 * state
    mamba += inner * (keys["mamba_d_conv"] + keys.get("mamba_conv_bias", True))

    def routes(layer: int) -> bool:
        if _experts(keys) == 1:
            return False
        return layer % keys["expert_layer_period"] == keys["expert_layer_offset"]

    layers = _mixed(keys, 0, routes, _moe(keys, keys["intermediate_size"]))
    for index in range(len(layers)):
        attends = index % keys["attn_layer_period"] == keys["attn_layer_offset"]
        layers[index] += _grouped(keys) if attends else mamba
    return layers


def _mamba2(hidden: int, heads: int, dim: int, groups: int, state: int, kernel: int) -> int:
    inner = heads * dim
    conv = inner + 2 * groups * state
    return (
        hidden * (2 * inner + 2 * groups * state + heads)
        + conv * kernel
        + 3 * heads
        + inner
        + inner * hidden
    )


def _granite_hybrid(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    inner = keys["mamba_expand"] * hidden
    heads = keys["mamba_n_heads"]
    state = keys["mamba_d_state"]
    groups = keys["mamba_n_groups"]
    kernel = keys["mamba_d_conv"] + keys.get("mamba_conv_bias", True)
    mamba = _mamba2(hidden, heads, inner // heads, groups, state, kernel)
    if keys.get("mamba_proj_bias"):
        mamba += 2 * inner + 2 * groups * state + heads + hidden
    bias = bool(keys.get("attention_bias"))
    attention = _grouped(keys, bias=bias, out_bias=bias)
    block = 3 * hidden * keys["shared_intermediate_size"]
    if keys.get("num_local_experts"):
        block += _moe(keys, keys["intermediate_size"])
    mixers = [
        mamba if kind in ("mamba", "linear_attention") else attention
        for kind in keys["layer_types"]
    ]
    return [2 * hidden + block + mixer for mixer in mixers]


def _nemotron_mamba(keys: Keys) -> int:
    hidden = keys["hidden_size"]
    heads = keys["mamba_num_heads"]
    dim = keys["mamba_head_dim"]
    groups = keys["n_groups"]
    state = keys["ssm_state_size"]
    kernel = keys["conv_kernel"] + keys.get("use_conv_bias", True)
    total = _mamba2(hidden, heads, dim, groups, state, kernel)
    if keys.get("use_bias"):
        total += 2 * heads * dim + 2 * groups * state + heads + hidden
    return total


def _ungated(inputs: int, width: int, has_bias: bool) -> int:
    return 2 * inputs * width + has_bias * (inputs + width)


def _nemotron_moe(keys: Keys) -> int:
    hidden = keys["hidden_size"]
    bias = bool(keys.get("mlp_bias"))
    latent = keys.get("moe_latent_size") or 0
    expert = _ungated(latent or hidden, keys["moe_intermediate_size"], False)
    total = _experts(keys) * (hidden + 1 + expert)
    total += _ungated(hidden, keys["moe_shared_expert_intermediate_size"], bias)
    return total + (_ungated(hidden, latent, bias) if latent else 0)


def _nemotron_h(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]

    def sized(kind: str) -> int:
        if kind == "*":
            return _grouped(keys)
        if kind == "M":
            return _nemotron_mamba(keys)
        if kind == "-":
            return _ungated(hidden, keys["intermediate_size"], bool(keys.get("mlp_bias")))
        return _nemotron_moe(keys)

    letters = {"mamba": "M", "moe": "E", "attention": "*", "mlp": "-"}
    words = keys.get("layers_block_type", ())
    pattern = keys.get("hybrid_override_pattern") or [letters[word] for word in words]
    return [hidden + sized(kind) for kind in pattern]


def _mimo(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    bias = bool(keys.get("attention_bias"))

    def attention(prefix: str, kv_heads: int) -> int:
        heads = keys.get(prefix + "num_attention_heads", keys["num_attention_heads"])
        dim = keys.get(prefix + "head_dim", keys["head_dim"])
        values = keys.get(prefix + "v_head_dim", keys["v_head_dim"])
        rows = heads * dim + kv_heads * (dim + values)
        return rows * (hidden + bias) + heads * values * hidden + (heads if prefix else 0)

    kv_heads = keys["num_key_value_heads"]
    full = attention("", kv_heads)
    windowed = attention("swa_", keys.get("swa_num_key_value_heads", 2 * kv_heads))
    kinds = keys.get("hybrid_layer_pattern", keys.get("layer_types"))
    sparse = keys.get("mlp_layer_types")
    flags = keys.get("moe_layer_freq")
    moe = _moe(keys, keys["moe_intermediate_size"], per_expert=1)
    if isinstance(flags, list):
        layers = _mixed(keys, 0, lambda layer: bool(flags[layer]), moe)
    elif sparse is not None:
        layers = _mixed(keys, 0, lambda layer: sparse[layer] == "sparse", moe)
    else:
        layers = _mixed(keys, 0, _after_dense(keys), moe)
    mixers = [full if kind in (0, "full_attention") else windowed for kind in kinds]
    return [size + mixer for size, mixer in zip(layers, mixers, strict=True)]


def _dbrx(keys: Keys) -> list[int]:
    hidden = keys["d_model"]
    kv_width = keys["attn_config"]["kv_n_heads"] * (hidden // keys["n_heads"])
    attention = 2 * hidden * hidden + 2 * hidden * kv_width
    width = keys["ffn_config"]["ffn_hidden_size"]
    moe = keys["ffn_config"]["moe_num_experts"] * (hidden + 3 * hidden * width)
    return [2 * hidden + attention + moe] * keys["n_layers"]


_GEMMA3_LEAVES_OUT = {
    "head_dim": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 262208,
}


def _gemma3(keys: Keys) -> list[int]:
    bias = bool(keys.get("attention_bias"))
    attention = _grouped(keys, bias=bias, out_bias=bias, norm="head")
    mlp = 3 * keys["hidden_size"] * keys["intermediate_size"]
    return _every(keys, attention, mlp + 2 * keys["hidden_size"])


def _minimax_m3(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    own = keys.get("sparse_attention_config", {})
    dim = own.get("sparse_index_dim", keys.get("index_head_dim"))
    heads = own.get("sparse_num_index_heads", keys.get("index_n_heads"))
    flags = own.get("sparse_attention_freq") or [
        kind == "minimax_m3_sparse" for kind in keys["layer_types"]
    ]
    indexer = hidden * dim * (heads + 1) + 2 * dim
    moe = _moe(
        keys, keys["intermediate_size"], shared=keys["shared_intermediate_size"], per_expert=1
    )
    dense = {**keys, "intermediate_size": keys.get("dense_intermediate_size", 0)}
    routed = keys["moe_layer_freq"]
    layers = _mixed(dense, _grouped(keys, norm="head"), lambda layer: routed[layer], moe)
    return [size + (indexer if flag else 0) for size, flag in zip(layers, flags, strict=True)]


def _gemma4(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    heads = keys["num_attention_heads"]
    is_one = keys.get("attention_k_eq_v")
    local = _grouped(keys, norm="head")
    dim = keys["global_head_dim"]
    kv_heads = keys.get("num_global_key_value_heads") if is_one else None
    kv_heads = kv_heads or keys["num_key_value_heads"]
    full = 2 * heads * dim * hidden + (1 if is_one else 2) * kv_heads * dim * hidden + 2 * dim
    common = 4 * hidden + 1 + 3 * hidden * keys["intermediate_size"]
    if keys["enable_moe_block"]:
        width = keys["moe_intermediate_size"]
        common += 4 * hidden + keys["num_experts"] * (hidden + 1 + 3 * hidden * width)
    kinds = keys["layer_types"]
    return [common + (full if kind == "full_attention" else local) for kind in kinds]


def _step(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    bias = bool(keys.get("attention_bias"))

    def attention(heads: int) -> int:
        groups = keys.get("num_attention_groups", keys.get("num_key_value_heads"))
        dim = keys["head_dim"]
        rows = (heads + 2 * groups) * dim
        output = hidden * (heads * dim + bias)
        return rows * (hidden + bias) + output + 2 * dim + hidden * heads

    full = attention(keys["num_attention_heads"])
    other = keys.get("attention_other_setting", keys)
    local = attention(other.get("num_attention_heads", keys["num_attention_heads"]))
    sparse = {int(part) for part in keys["moe_layers_enum"].split(",")}
    names = ("moe_num_experts", "n_routed_experts", "num_local_experts")
    num_experts = next(keys[name] for name in names if name in keys)
    moe = num_experts * (hidden + 1 + 3 * hidden * keys["moe_intermediate_size"])
    moe += 3 * hidden * keys["share_expert_dim"]
    layers = _mixed(keys, 0, lambda layer: layer in sparse, moe)
    kinds = keys["layer_types"]
    return [
        size + (full if kinds[at] == "full_attention" else local) for at, size in enumerate(layers)
    ]


def _deepseek_v4(keys: Keys) -> list[int]:
    hidden = keys["hidden_size"]
    width = keys["head_dim"] * keys["num_attention_heads"]
    out = keys["o_groups"] * keys["o_lora_rank"]
    rank = keys["q_lora_rank"]
    dim = keys["head_dim"]
    attention = hidden * rank + rank + rank * width + hidden * dim + dim
    attention += width // keys["o_groups"] * out + out * hidden + keys["num_attention_heads"]
    mult = keys["hc_mult"]
    streams = 2 * ((2 + mult) * mult * (mult * hidden + 1) + 3)
    width = keys["moe_intermediate_size"]
    moe = _moe(keys, width, shared=keys.get("n_shared_experts", 0) * width)

    def compressed(ratio: int) -> int:
        if ratio == 0:
            return 0
        wide = dim if ratio == 128 else 2 * dim
        total = 2 * hidden * wide + ratio * wide + dim
        if ratio == 128:
            return total
        small = keys["index_head_dim"]
        heads = keys["index_n_heads"]
        total += 4 * hidden * small + ratio * 2 * small + small
        return total + rank * heads * small + hidden * heads

    layers = []
    for index in range(keys["num_hidden_layers"]):
        score = 0 if index < keys.get("num_hash_layers", 0) else _experts(keys)
        own = compressed(keys["compress_ratios"][index])
        layers.append(2 * hidden + streams + attention + moe + score + own)
    # the head that mixes the streams stands outside the layers
    return [*layers, mult * mult * hidden + mult + 1]


def _glm4_moe(keys: Keys) -> list[int]:
    norm = "head" if keys.get("use_qk_norm") else ""
    attention = _grouped(keys, bias=keys["attention_bias"], norm=norm)
    width = keys["moe_intermediate_size"]
    moe = _moe(keys, width, shared=keys["n_shared_experts"] * width, per_expert=1)
    return _mixed(keys, attention, _after_dense(keys), moe)


LAYERS: dict[str, Callable[[Keys], list[int]]] = {
    "dbrx": _dbrx,
    "deepseek_v4": _deepseek_v4,
    "deepseek_v32": _sparse_latent,
    "dots1": _dots1,
    "hy_v3": _dots1,
    "solar_open": _solar_open,
    "ernie4_5_moe": _ernie,
    "glm4_moe_lite": _lite,
    "glm_moe_dsa": _sparse_latent,
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
    "qwen3_5_moe": lambda keys: _qwen3_next(
        {**keys, "decoder_sparse_step": 1, "mlp_only_layers": ()}
    ),
    "deepseek_v2": lambda keys: _deepseek(keys, 0),
    "deepseek_v3": lambda keys: _deepseek(keys, 1),
    "gemma3": _gemma3,
    "gemma4": _gemma4,
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
    "step3p5": _step,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "qwen3_next": _qwen3_next,
    **ling_and_grok.LAYERS,
}
"""The weights of each layer, by family."""
