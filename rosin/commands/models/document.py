"""The figures of a model, for the list of models, the page of one model, and their JSON."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hwprofiles import Provenance
from sim.model.importers import Ignored, import_gguf
from sim.model.model import LAYER_CLASSES, Layer, Model, TensorClass


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSummary:
    """All weights of one tensor class, over all layers and experts."""

    params: int
    bytes: int
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """The figures of one model.

    ``expert_bytes`` is the size of one routed expert, and ``state_bytes`` that of one sequence's
    state. ``kinds`` counts layers by what they have. ``tensors`` has only classes that the model
    holds. ``left_out`` lists what the source describes besides the decoder.
    """

    name: str
    family: str
    quantization: str
    num_layers: int
    num_moe_layers: int
    num_experts: int
    top_k: int
    hidden: int
    expert_intermediate: int
    vocab: int
    max_context_tokens: int
    total_params: int
    active_params: int
    total_bytes: int
    non_expert_bytes: int
    expert_bytes: int
    kv_bytes_per_token: int
    state_bytes: int
    kinds: dict[str, int]
    tensors: dict[TensorClass, TensorSummary]
    left_out: tuple[str, ...]
    provenance: Provenance


def model_summary(model: Model) -> ModelSummary:
    """The figures of one model."""
    tensors = {tensor_class: _tensors(model, tensor_class) for tensor_class in TensorClass}
    return ModelSummary(
        name=model.name,
        family=model.family,
        quantization=model.quantization,
        num_layers=model.num_layers,
        num_moe_layers=len(model.moe_layers),
        num_experts=model.num_experts,
        top_k=model.top_k,
        hidden=model.hidden,
        expert_intermediate=model.expert_intermediate,
        vocab=model.vocab,
        max_context_tokens=model.max_context_tokens,
        total_params=model.total_params,
        active_params=model.active_params,
        total_bytes=model.total_bytes,
        non_expert_bytes=model.non_expert_bytes,
        expert_bytes=model.expert_bytes,
        kv_bytes_per_token=model.kv_bytes_per_token,
        state_bytes=model.state_bytes,
        kinds=dict(Counter(_kind(layer) for layer in model.layers)),
        tensors={
            tensor_class: summary for tensor_class, summary in tensors.items() if summary.params
        },
        left_out=model.left_out,
        provenance=model.provenance,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportNotes:
    """The parts of a file that the model leaves out, and the bytes of missing tensor data."""

    ignored: tuple[Ignored, ...] = ()
    missing_bytes: int = 0


def import_notes(path: Path) -> ImportNotes:
    """Return the notes on a GGUF file; a file of another format gives no notes."""
    # Loading the model says what is wrong with a path that is not there.
    if path.suffix != ".gguf" or not path.exists():
        return ImportNotes()
    found = import_gguf(path)
    return ImportNotes(ignored=found.ignored, missing_bytes=found.missing_bytes)


def _kind(layer: Layer) -> str:
    """Return in words what a layer has, such as attention, a dense feed-forward part or experts."""
    parts = [*_mixers(layer)]
    if TensorClass.DENSE_FFN in layer.params:
        parts.append("dense feed-forward")
    if layer.is_moe:
        parts.append("experts")
    return " + ".join(parts) or "nothing"


def _mixers(layer: Layer) -> list[str]:
    found = []
    attention = layer.attention
    state = layer.state
    if attention is not None:
        words = [] if attention.window_tokens is None else [f"window {attention.window_tokens:,}"]
        words += (
            []
            if attention.tokens_per_entry is None
            else [f"1 entry for {attention.tokens_per_entry} tokens"]
        )
        words += [] if attention.indexer is None else [f"indexer of {attention.indexer.top_k:,}"]
        words += [] if attention.keeps_kv else ["cache of an earlier layer"]
        found.append(f"attention ({', '.join(words)})" if words else "attention")
    if state is not None:
        found.append("recurrent state" if state.elements else "short convolution")
    if not found and layer.has_mixer:
        found.append("a projection")
    return found


def _tensors(model: Model, tensor_class: TensorClass) -> TensorSummary:
    params = model.top_params.get(tensor_class, 0)
    num_bytes = model.top_bytes.get(tensor_class, 0)
    for layer in model.layers:
        # A layer states the weights of one expert, so those count as often as there are experts.
        count = (
            layer.num_experts
            if tensor_class is TensorClass.EXPERT
            else int(tensor_class in LAYER_CLASSES)
        )
        params += count * layer.params.get(tensor_class, 0)
        num_bytes += count * layer.bytes.get(tensor_class, 0)
    return TensorSummary(params=params, bytes=num_bytes, dtype=model.dtypes.get(tensor_class, ""))
