"""A model from a GGUF file, with the exact bytes of its tensor table."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hwprofiles import InputError, Kind, Provenance
from sim.model.importers.gguf_file import GgufHeader, Tensor, read_header, shown
from sim.model.importers.gguf_keys import MOST_EXPERTS, MOST_LAYERS, GgufKeys
from sim.model.importers.gguf_layers import attention_of, state_of
from sim.model.importers.gguf_tensors import (
    block_index,
    class_of,
    dominant_types,
    per_expert,
    totals,
)
from sim.model.model import Layer, Model, TensorClass

QUANTIZATION = "gguf"
"""Name of the scheme of a model whose bytes come from a tensor table: each tensor has its own type.
"""

MTP = re.compile(r"blk\.\d+\.nextn\.")
"""Names of tensors for multi-token prediction inside a layer."""

MOST_NAME = 200
"""The most characters of a model's name; the file's name replaces a longer one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A part of a file that the model leaves out: ``what`` in words, with its weights and bytes."""

    what: str
    params: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufImport:
    """A model from a GGUF file, the parts of the file that it leaves out, and how many bytes of
    tensor data are missing.
    """

    model: Model
    ignored: tuple[Ignored, ...]
    missing_bytes: int


def model_from_gguf(path: str | Path) -> Model:
    """Return the model in a GGUF file, as ``import_gguf`` reads it."""
    return import_gguf(path).model


def import_gguf(path: str | Path) -> GgufImport:
    """Read the model in a GGUF file, or in a split one from any of its parts.

    Sizes come from the tensor table, shapes from the metadata. Expert bytes are those of a layer's
    expert tensors divided by the number of experts. Layers for multi-token prediction, which
    decoding leaves out, are counted apart. ``dtypes`` names for each class the type that holds most
    of its bytes. Raises InputError, one line, for a file that is not GGUF, whose header is cut or
    that lacks a key. A key that may change cost or KV cache and is not understood is an error, too.
    """
    path = Path(path)
    header = read_header(path)
    keys = GgufKeys(header)
    by_layer, top, predicting = _sorted(header, keys)
    # Some lie inside layers, but a token reads a row of them, not the whole: they stay outside the
    # layers, which move as wholes.
    lookups = [
        tensor
        for tensors in by_layer
        for tensor in tensors
        if class_of(tensor.name) is TensorClass.LOOKUP
    ]
    top_totals = totals([*top, *lookups])
    kept = [*top, *(tensor for tensors in by_layer for tensor in tensors)]
    if TensorClass.EMBEDDING not in top_totals.params:
        raise InputError(f"{path}: tensor token_embd.weight is missing")
    layers = tuple(_layer(keys, index, tensors) for index, tensors in enumerate(by_layer))
    model = Model(
        name=_name(header, path),
        family=keys.architecture,
        hidden=keys.count("embedding_length"),
        # From the table: not every architecture states vocab_size.
        vocab=_embedding_rows(top),
        expert_intermediate=_expert_width(keys, kept)
        if any(layer.is_moe for layer in layers)
        else 0,
        layers=layers,
        top_params=dict(top_totals.params),
        top_bytes=dict(top_totals.bytes),
        dtypes=dominant_types(kept),
        quantization=QUANTIZATION,
        max_context_tokens=keys.count("context_length"),
        provenance=Provenance(
            kind=Kind.PUBLISHED, source=f"tensor table of {path.name}", date=_modified(path)
        ),
        is_head_tied=TensorClass.HEAD not in top_totals.params,
    )
    return GgufImport(
        model=model, ignored=tuple(_ignored(predicting)), missing_bytes=header.missing_bytes
    )


def _sorted(
    header: GgufHeader, keys: GgufKeys
) -> tuple[list[list[Tensor]], list[Tensor], list[Tensor]]:
    """Return the tensors of each layer, those outside the layers, and those for multi-token
    prediction.
    """
    num_blocks = keys.count("block_count", most=MOST_LAYERS)
    # Layers for prediction are the last ones, and decoding does not run them.
    num_layers = num_blocks - keys.count_or(0, "nextn_predict_layers")
    groups: dict[int | None, list[Tensor]] = defaultdict(list)
    predicting: list[Tensor] = []
    for tensor in header.tensors:
        index = block_index(tensor.name)
        if index is not None and index >= num_blocks:
            raise InputError(
                f"{header.where}: tensor {shown(tensor.name)} is of layer {index}, but {keys.architecture}.block_count is {num_blocks}"
            )
        is_predicting = index is not None and (
            # Some files have the tensors for prediction in a layer of their own, others within the
            # last.
            index >= num_layers or MTP.match(tensor.name) is not None
        )
        (predicting if is_predicting else groups[index]).append(tensor)
    missing = next((index for index in range(num_layers) if index not in groups), None)
    # A part of a split file lacks layers; its sizes would be too small without a word.
    if missing is not None or num_layers < 1:
        raise InputError(
            f"{header.where}: the tensor table has no tensors of layer {missing or 0} (of {num_layers})"
        )
    return [groups[index] for index in range(num_layers)], groups[None], predicting


def _layer(keys: GgufKeys, index: int, tensors: Sequence[Tensor]) -> Layer:
    found = totals(tensors)
    # By its tensors, not by the metadata: leading layers of a Mixture-of-Experts model may be
    # dense.
    is_moe = TensorClass.EXPERT in found.params
    num_experts = keys.count("expert_count", index, MOST_EXPERTS) if is_moe else 0
    top_k = keys.count("expert_used_count", index) if is_moe else 0
    if top_k > num_experts:
        raise keys.refused(
            "expert_used_count", f"must be at most expert_count, got {top_k} > {num_experts}"
        )
    if is_moe:
        _check_experts(keys, tensors, num_experts)
    return Layer(
        attention=attention_of(keys, index, tensors),
        state=state_of(keys, tensors),
        num_experts=num_experts,
        top_k=top_k,
        params=_of_layer(found.params, num_experts),
        bytes=_of_layer(found.bytes, num_experts),
    )


def _of_layer(counts: Mapping[TensorClass, int], num_experts: int) -> Mapping[TensorClass, int]:
    kept = dict(counts)
    kept.pop(TensorClass.LOOKUP, None)
    return per_expert(kept, max(num_experts, 1))


def _check_experts(keys: GgufKeys, tensors: Sequence[Tensor], num_experts: int) -> None:
    """Raise InputError where a layer's expert tensors are of another number of experts."""
    apart: Counter[str] = Counter()
    for tensor in tensors:
        if class_of(tensor.name) is not TensorClass.EXPERT or "_chexps" in tensor.name:
            continue
        # Early files of Mixtral have a tensor for each expert.
        alone = re.match(r"(blk\.\d+\.ffn_[a-z]+)\.\d+\.(.+)", tensor.name)
        if alone:
            apart["".join(alone.groups())] += 1
        # The last dimension of a tensor of experts counts them; the keys and the table must agree.
        elif tensor.shape[-1] != num_experts:
            raise keys.refused(
                "expert_count",
                f"is {num_experts}, but tensor {shown(tensor.name)} is of {tensor.shape[-1]} experts",
            )
    if any(count != num_experts for count in apart.values()):
        raise keys.refused(
            "expert_count",
            f"is {num_experts}, but a layer has tensors of {max(apart.values())} experts",
        )


def _ignored(predicting: Sequence[Tensor]) -> Iterator[Ignored]:
    if predicting:
        indices = sorted(
            {index for tensor in predicting if (index := block_index(tensor.name)) is not None}
        )
        which = (
            f"layer {indices[0]}" if len(indices) == 1 else f"layers {indices[0]} to {indices[-1]}"
        )
        yield Ignored(
            what=f"multi-token prediction, {which}: not run in decode",
            params=sum(tensor.num_weights for tensor in predicting),
            bytes=sum(tensor.num_bytes for tensor in predicting),
        )


def _name(header: GgufHeader, path: Path) -> str:
    """The model's name as the file states it, if it is printable and not too long; else the file's
    name.
    """
    name = header.fields.get("general.name")
    is_usable = (
        isinstance(name, str) and name.strip() and name.isprintable() and len(name) <= MOST_NAME
    )
    return str(name) if is_usable else path.stem


def _embedding_rows(top: Sequence[Tensor]) -> int:
    return next((tensor.shape[-1] for tensor in top if tensor.name == "token_embd.weight"), 1)


def _expert_width(keys: GgufKeys, tensors: Sequence[Tensor]) -> int:
    """The experts' inner dimension: the inputs of their down projection in the table, else what the
    metadata state.
    """
    widths = [
        tensor.shape[0]
        for tensor in tensors
        if re.search(r"ffn_down(_exps|\.\d+)\.weight$", tensor.name)
    ]
    return (
        max(widths)
        if widths
        else keys.count_or(keys.count_or(1, "feed_forward_length"), "expert_feed_forward_length")
    )


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
