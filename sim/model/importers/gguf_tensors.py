"""Sorting the tensors of a GGUF file into layers and tensor classes, and adding up their weights
and bytes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sim.model.importers.gguf_file import Tensor
from sim.model.model import TensorClass, without_zeros

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")

# The order matters: an expert's tensor also begins with ffn_, and a router's with ffn_gate.
_BLOCK_CLASSES = (
    (re.compile(r"ffn_gate_tid2eid|.*n_?gram.*embd|engram.*(embd|table)"), TensorClass.LOOKUP),
    (re.compile(r"ffn_(gate|up|down|gate_up)_(ch)?exps\b"), TensorClass.EXPERT),
    (re.compile(r"ffn_(gate|up|down)\.\d+\."), TensorClass.EXPERT),
    (re.compile(r"ffn_.*shexp"), TensorClass.SHARED_EXPERT),
    (re.compile(r"ffn_gate_inp|exp_probs_b"), TensorClass.ROUTER),
    (re.compile(r"[a-z_0-9]*norm\b"), TensorClass.NORM),
    (re.compile(r"ffn_"), TensorClass.DENSE_FFN),
)
_TOP_CLASSES = (
    (re.compile(r"per_layer_token_embd|.*n_?gram|engram"), TensorClass.LOOKUP),
    (re.compile(r".*_embd|.*embd_"), TensorClass.EMBEDDING),
    (re.compile(r"output\."), TensorClass.HEAD),
)


@dataclass(frozen=True, slots=True)
class TensorTotals:
    """Weights and bytes by tensor class, and bytes by (class, storage type)."""

    params: Counter[TensorClass] = field(default_factory=Counter)
    bytes: Counter[TensorClass] = field(default_factory=Counter)
    types: Counter[tuple[TensorClass, str]] = field(default_factory=Counter)


def block_index(name: str) -> int | None:
    """The layer that a tensor belongs to, None for one outside the layers."""
    match = _BLOCK.match(name)
    return int(match.group(1)) if match else None


def class_of(name: str) -> TensorClass:
    """Return the class of a tensor, by its name.

    A table that a token reads a few rows of (embeddings by layer, n-grams, experts by token) is a
    lookup table. A tensor of a layer that is in no other class counts to the layer's attention.
    State-space and indexer tensors of newer models are such: they are read for each token, as
    attention is. Outside the layers, a tensor that is neither lookup table, embedding nor head
    counts to the norms, for instance rope factors.
    """
    match = _BLOCK.match(name)
    rules, rest, default = (
        (_BLOCK_CLASSES, match.group(2), TensorClass.ATTENTION)
        if match
        else (_TOP_CLASSES, name, TensorClass.NORM)
    )
    return next((tensor_class for pattern, tensor_class in rules if pattern.match(rest)), default)


def totals(tensors: Iterable[Tensor]) -> TensorTotals:
    """Weights and bytes of the tensors, by class."""
    result = TensorTotals()
    for tensor in tensors:
        tensor_class = class_of(tensor.name)
        result.params[tensor_class] += tensor.num_weights
        result.bytes[tensor_class] += tensor.num_bytes
        result.types[tensor_class, tensor.type_name] += tensor.num_bytes
    return result


def per_expert(counts: Mapping[TensorClass, int], num_experts: int) -> Mapping[TensorClass, int]:
    """The counts with EXPERT divided among the experts, rounded up; classes of zero left out."""
    result = dict(counts)
    # Rounded up, so that all experts together take no less than the file says.
    result[TensorClass.EXPERT] = -(-counts.get(TensorClass.EXPERT, 0) // num_experts)
    return without_zeros(result)


def dominant_types(tensors: Iterable[Tensor]) -> Mapping[TensorClass, str]:
    """For each class, the storage type that holds most of its bytes; of two equal ones, the first
    by name.
    """
    types = totals(tensors).types
    result: dict[TensorClass, str] = {}
    # Most bytes first; the first of a class stays.
    for (tensor_class, type_name), _ in sorted(types.items(), key=lambda item: (-item[1], item[0])):
        result.setdefault(tensor_class, type_name)
    return {
        tensor_class: result[tensor_class] for tensor_class in TensorClass if tensor_class in result
    }
