"""Attention and state of a layer of a GGUF file.

The file's tensors say which of the two a layer has, its metadata give their sizes. Each key means
what it means in llama.cpp (src/llama-hparams.cpp, src/llama-model.cpp and src/models at commit
01b77b57 and later).
"""

import re
from collections.abc import Sequence

from sim.model.importers.gguf_file import Tensor
from sim.model.importers.gguf_keys import GgufKeys
from sim.model.model import Attention, Indexer, State

_STATE = re.compile(r"blk\.\d+\.(ssm_|shortconv|time_mix_)")
_ATTENTION = re.compile(
    r"blk\.\d+\.attn_(q|k|v|qkv|q_a|q_b|kv|kv_a_mqa|kv_b|output|output_a|out)\."
)
_OUTPUT = re.compile(r"blk\.\d+\.attn_(output|output_a|out)\.")
_SHARED_KV = re.compile(r"blk\.\d+\.attn_kv\.")

_WINDOW_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "mellum": 4,
    "olmo2": 4,
    "plamo3": 8,
}
"""The period n of architectures whose every n-th layer has full attention where no pattern is
stated; llama.cpp hard-codes these periods.
"""

_CHUNK_TOKENS = {"llama4": 8192}
"""Tokens of an attention chunk that llama.cpp hard-codes where the file does not state them."""

_WITHOUT_WINDOW = frozenset({"phi3"})
"""Architectures whose window llama.cpp ignores."""

_COMPRESSED = "deepseek4"
_INDEXED_RATIO = 4
"""Tokens of an entry in the layers of DeepSeek-V4 that have an indexer
(src/llama-kv-cache-dsv4.cpp).
"""

_F32_BYTES = 4
"""Bytes of an element of a state: llama.cpp keeps states in 32 bit."""


def attention_of(keys: GgufKeys, index: int, tensors: Sequence[Tensor]) -> Attention | None:
    """Return the attention of a layer; None where it has no tensors of attention, or no KV heads.

    A layer with tensors of a state has attention too only if it has attention's output projection.
    """
    # Layers with a state have tensors named like attention's (attn_qkv, attn_gate) for their own
    # use.
    needed = _OUTPUT if _has(_STATE, tensors) else _ATTENTION
    if (
        not _has(needed, tensors)
        or keys.count_or_none("attention.head_count_kv", index) == 0
        or not _is_listed(keys, index)
    ):
        return None
    heads = keys.count("attention.head_count", index)
    if keys.get("attention.kv_lora_rank"):
        return _latent(keys, heads, index)
    window = window_of(keys, index)
    key_dim, value_dim = _head_dimensions(keys, index, heads, is_windowed=window is not None)
    kv_heads = keys.count_or(heads, "attention.head_count_kv", index)
    is_shared = _has(_SHARED_KV, tensors)
    ratio = _ratio(keys, index)
    return Attention(
        num_heads=heads,
        # Where one tensor makes both, keys and values are the same numbers, cached once.
        kv_elements_per_token=kv_heads * (key_dim if is_shared else key_dim + value_dim),
        score_elements=heads * key_dim,
        value_elements=heads * value_dim,
        window_tokens=window,
        tokens_per_entry=ratio,
        indexer=_indexer(keys) if ratio == _INDEXED_RATIO else None,
        keeps_kv=not _borrows(keys, index),
    )


def state_of(keys: GgufKeys, tensors: Sequence[Tensor]) -> State | None:
    """Return the state of a layer, recurrent or of a short convolution; None where it has none.

    The sizes are those that llama.cpp allocates (n_embd_s and n_embd_r of its hparams), and 0 where
    the file does not state them.
    """
    if not _has(_STATE, tensors):
        return None
    hidden = keys.count("embedding_length")
    if keys.get("wkv.head_size"):
        recurrent = hidden * keys.count("wkv.head_size")
        kept = hidden * keys.count_or(2, "token_shift_count")
    elif any(".shortconv" in tensor.name for tensor in tensors):
        recurrent = 0
        kept = hidden * (keys.count("shortconv.l_cache") - 1)
    elif keys.get("kda.head_dim"):
        width = keys.count("attention.head_count") * keys.count("kda.head_dim")
        recurrent = width * keys.count("kda.head_dim")
        # A convolution each over queries, keys and values.
        kept = 3 * width * max(keys.count_or(1, "ssm.conv_kernel") - 1, 0)
    else:
        inner = keys.count_or(0, "ssm.inner_size")
        size = keys.count_or(0, "ssm.state_size")
        recurrent = inner * size
        kept = max(keys.count_or(1, "ssm.conv_kernel") - 1, 0) * (
            # The convolution runs over the inputs and over B and C, which every group has.
            inner + 2 * keys.count_or(0, "ssm.group_count") * size
        )
    return State(elements=recurrent, bytes=_F32_BYTES * (recurrent + kept))


def window_of(keys: GgufKeys, index: int) -> int | None:
    """Return the window of a layer in tokens, None for full attention.

    The file's own pattern decides (a flag for each layer, or a period), else the architecture's
    period.
    """
    if keys.architecture in _WITHOUT_WINDOW:
        return None
    size = keys.count_or(_CHUNK_TOKENS.get(keys.architecture, 0), "attention.sliding_window", index)
    # A window as long as the context leaves nothing out.
    if not 0 < size < keys.count("context_length"):
        return None
    name = "attention.sliding_window_pattern"
    pattern = keys.get(name, index)
    if keys.is_by_layer(name) or isinstance(pattern, bool):
        return size if pattern else None
    period = keys.count_or_none(name) or _WINDOW_PERIODS.get(keys.architecture)
    # The last layer of each period attends to all; without a period every layer has the window.
    return None if period and (index + 1) % period == 0 else size


def _has(pattern: re.Pattern[str], tensors: Sequence[Tensor]) -> bool:
    return any(pattern.match(tensor.name) for tensor in tensors)


def _is_listed(keys: GgufKeys, index: int) -> bool:
    """Whether the file's lists of layers with and without attention allow attention in this
    layer.
    """
    if keys.has("attention.layer_indices") and index not in keys.array("attention.layer_indices"):
        return False
    return not (
        keys.is_by_layer("attention.recurrent_layers")
        and keys.get("attention.recurrent_layers", index)
    )


def _head_dimensions(
    keys: GgufKeys, index: int, heads: int, *, is_windowed: bool
) -> tuple[int, int]:
    """Dimensions of a head's keys and values; windowed layers may have their own."""
    # By the first layer's heads, as llama.cpp has it: layers with fewer heads keep their dimension.
    default = keys.count("embedding_length") // keys.count_or(heads, "attention.head_count")
    key_dim = keys.count_or(default, "attention.key_length", index)
    value_dim = keys.count_or(default, "attention.value_length", index)
    if is_windowed:
        key_dim = keys.count_or(key_dim, "attention.key_length_swa", index)
        value_dim = keys.count_or(value_dim, "attention.value_length_swa", index)
    return key_dim, value_dim


def _latent(keys: GgufKeys, heads: int, index: int) -> Attention:
    """Latent attention. The cache holds the latent and one rotary key; scores are taken over both,
    and values are summed over the latent.
    """
    expanded = [_expanded_dimension(keys, part, index) for part in ("key", "value")]
    latent = keys.count("attention.kv_lora_rank")
    rotary = keys.count("rope.dimension_count")
    _refuse_ratios(keys)
    return Attention(
        num_heads=heads,
        kv_elements_per_token=latent + rotary,
        score_elements=heads * (latent + rotary),
        value_elements=heads * latent,
        expanded_elements=heads * sum(expanded),
        indexer=_indexer(keys) if keys.get("attention.indexer.top_k") else None,
    )


def _expanded_dimension(keys: GgufKeys, part: str, index: int) -> int:
    """Elements of a head's expanded key or value: files with absorbed matrices name them apart from
    those of the latent cache.
    """
    latent = keys.count_or(0, f"attention.{part}_length", index)
    return keys.count_or(latent, f"attention.{part}_length_mla", index)


def _indexer(keys: GgufKeys) -> Indexer:
    key_dim = keys.count("attention.indexer.key_length")
    return Indexer(
        top_k=keys.count("attention.indexer.top_k"),
        key_elements=key_dim,
        score_elements=key_dim * keys.count("attention.indexer.head_count"),
    )


def _ratio(keys: GgufKeys, index: int) -> int | None:
    """The number of tokens that one entry of compressed attention stands for; None where nothing is
    compressed.
    """
    if keys.architecture == _COMPRESSED:
        return keys.count_or_none("attention.compress_ratios", index) or None
    _refuse_ratios(keys)
    if keys.get("attention.indexer.top_k"):
        raise keys.refused(
            "attention.indexer.top_k", "is understood in latent attention and in deepseek4 only"
        )
    return None


def _refuse_ratios(keys: GgufKeys) -> None:
    if any(keys.array("attention.compress_ratios")):
        raise keys.refused("attention.compress_ratios", f"is understood in {_COMPRESSED} only")


def _borrows(keys: GgufKeys, index: int) -> bool:
    """Whether the layer reads the cache of an earlier one: the last ``shared_kv_layers`` layers do."""
    shared = keys.count_or(0, "attention.shared_kv_layers")
    return index >= keys.count("block_count") - keys.count_or(0, "nextn_predict_layers") - shared
