"""A model from a GGUF file, with the exact bytes of its tensor table."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hwprofiles import InputError, Kind, Provenance
from sim.importers.gguf_file import GgufHeader, Tensor, read_header
from sim.importers.gguf_tensors import block_index, dominant_types, per_expert, totals
from sim.model import Attention, Layer, Model, State, TensorClass

QUANTIZATION = "gguf"
"""Name of the scheme of a model whose bytes come from a tensor table: each tensor has its own type."""

_WINDOW_PERIODS = {"gpt-oss": 2, "llama4": 4}
"""Every n-th layer has full attention; llama.cpp hard-codes these periods (src/llama-model.cpp, commit 0c1e57098)."""

_CHUNK_TOKENS = {"llama4": 8192}
"""Attention chunk that llama.cpp hard-codes where the file does not state one (same source)."""


def model_from_gguf(path: str | Path) -> Model:
    """The model in a GGUF file (for a split one, any of its parts): sizes from its table, shapes from its metadata.

    Expert bytes are those of a layer's expert tensors divided by the number of experts. Layers for multi-token prediction,
    which engines leave out, are left out. ``dtypes`` names for each class the type that holds most of its bytes.
    Raises InputError, one line, for a file that is truncated, not GGUF, or lacks a key.
    """
    path = Path(path)
    header = read_header(path)
    keys = _Metadata(header)
    num_layers = keys.count("block_count") - keys.count_or(0, "nextn_predict_layers")
    by_layer, top = _by_layer(header, num_layers)
    top_totals = totals(top)
    kept = [*top, *(tensor for tensors in by_layer for tensor in tensors)]
    if TensorClass.EMBEDDING not in top_totals.params:
        raise InputError(f"{path}: tensor token_embd.weight is missing")
    layers = tuple(_layer(keys, index, tensors) for index, tensors in enumerate(by_layer))
    return Model(
        name=str(header.fields.get("general.name") or path.stem),
        family=keys.architecture,
        hidden=keys.count("embedding_length"),
        vocab=_embedding_rows(top),
        expert_intermediate=_expert_width(keys, kept) if any(layer.is_moe for layer in layers) else 0,
        layers=layers,
        top_params=dict(top_totals.params),
        top_bytes=dict(top_totals.bytes),
        dtypes=dominant_types(kept),
        quantization=QUANTIZATION,
        max_context_tokens=keys.count("context_length"),
        provenance=Provenance(kind=Kind.PUBLISHED, source=f"tensor table of {path.name}", date=_modified(path)),
        is_head_tied=TensorClass.HEAD not in top_totals.params,
    )


class _Metadata:
    """The metadata of the file's own architecture; values may be one for all layers or one for each."""

    def __init__(self, header: GgufHeader) -> None:
        self.where = header.where
        self._fields = header.fields
        self.architecture = str(header.fields.get("general.architecture") or "")
        if not self.architecture:
            raise InputError(f"{self.where}: metadata key general.architecture is missing")

    def get(self, name: str, layer: int = 0) -> Any:
        """The value, for that layer if it is an array; None where the key is missing or the array too short."""
        value = self._fields.get(f"{self.architecture}.{name}")
        if isinstance(value, Sequence) and not isinstance(value, str):
            return value[layer] if layer < len(value) else None
        return value

    def count(self, name: str, layer: int = 0) -> int:
        """A positive integer. Raises InputError when it is missing or anything else."""
        value = self.get(name, layer)
        if value is None:
            raise InputError(f"{self.where}: metadata key {self.architecture}.{name} is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{self.where}: metadata key {self.architecture}.{name} must be a positive integer, got {value!r}")
        return value

    def count_or(self, default: int, name: str, layer: int = 0) -> int:
        """A positive integer, or the default where the key is missing or 0."""
        return self.count(name, layer) if self.get(name, layer) else default


def _by_layer(header: GgufHeader, num_layers: int) -> tuple[list[list[Tensor]], list[Tensor]]:
    groups: dict[int | None, list[Tensor]] = defaultdict(list)
    for tensor in header.tensors:
        groups[block_index(tensor.name)].append(tensor)
    missing = [index for index in range(num_layers) if index not in groups]
    if missing or num_layers < 1:
        raise InputError(f"{header.where}: the tensor table has no tensors of layer {missing[0] if missing else 0} (of {num_layers})")
    return [groups[index] for index in range(num_layers)], groups[None]


def _layer(keys: _Metadata, index: int, tensors: Sequence[Tensor]) -> Layer:
    found = totals(tensors)
    is_moe = TensorClass.EXPERT in found.params
    num_experts = keys.count("expert_count", index) if is_moe else 0
    return Layer(
        attention=None if any(".ssm_" in tensor.name for tensor in tensors) else _attention(keys, index),
        state=_recurrent(keys) if any(".ssm_" in tensor.name for tensor in tensors) else None,
        num_experts=num_experts,
        top_k=keys.count("expert_used_count", index) if is_moe else 0,
        params=per_expert(found.params, max(num_experts, 1)),
        bytes=per_expert(found.bytes, max(num_experts, 1)),
    )


def _attention(keys: _Metadata, index: int) -> Attention | None:
    if keys.get("attention.head_count_kv", index) == 0:
        return None
    heads = keys.count_or(0, "attention.head_count", index)
    latent = keys.count_or(0, "attention.kv_lora_rank")
    if latent:
        rotary = keys.count("rope.dimension_count")
        cached, scores, values = latent + rotary, heads * (latent + rotary), heads * latent
    else:
        default = keys.count("embedding_length") // max(heads, 1)
        key_dim, value_dim = keys.count_or(default, "attention.key_length"), keys.count_or(default, "attention.value_length")
        cached = keys.count_or(0, "attention.head_count_kv", index) * (key_dim + value_dim)
        scores, values = heads * key_dim, heads * value_dim
    return Attention(
        num_heads=max(heads, 1),
        kv_elements_per_token=cached,
        score_elements=scores,
        value_elements=values,
        window_tokens=_window(keys, index),
    )


def _recurrent(keys: _Metadata) -> State:
    """A recurrent layer: its state, which llama.cpp keeps in 32 bit with the convolution's last inputs, does not grow with the context.

    Sizes as in llama.cpp's hparams (n_embd_s, n_embd_r); 0 where the file does not state them.
    """
    inner, state = keys.count_or(0, "ssm.inner_size"), keys.count_or(0, "ssm.state_size")
    kept = max(keys.count_or(1, "ssm.conv_kernel") - 1, 0) * (inner + 2 * keys.count_or(0, "ssm.group_count") * state)
    return State(elements=inner * state, bytes=4 * (inner * state + kept))


def _window(keys: _Metadata, index: int) -> int | None:
    """The window of a layer: by the file's own pattern (a flag for each layer, or a period), else by the architecture's period."""
    size = keys.count_or(_CHUNK_TOKENS.get(keys.architecture, 0), "attention.sliding_window")
    if not 0 < size < keys.count("context_length"):
        return None
    pattern = keys.get("attention.sliding_window_pattern", index)
    if isinstance(pattern, bool):
        return size if pattern else None
    period = pattern or _WINDOW_PERIODS.get(keys.architecture)
    return None if period and (index + 1) % period == 0 else size


def _embedding_rows(top: Sequence[Tensor]) -> int:
    return next((tensor.shape[-1] for tensor in top if tensor.name == "token_embd.weight"), 1)


def _expert_width(keys: _Metadata, tensors: Sequence[Tensor]) -> int:
    """The experts' inner dimension: rows that the down projection contracts, as the table has them."""
    widths = [tensor.shape[0] for tensor in tensors if tensor.name.endswith("ffn_down_exps.weight")]
    return max(widths) if widths else keys.count_or(keys.count_or(1, "feed_forward_length"), "expert_feed_forward_length")


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
