"""What a model is: its layers, how many weights of each tensor class they hold, and in how many bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Provenance


class TensorClass(StrEnum):
    """Groups of weights that are placed, quantised and priced alike."""

    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"
    ATTENTION = "attention"
    ROUTER = "router"
    DENSE_FFN = "dense_ffn"
    SHARED_EXPERT = "shared_expert"
    EXPERT = "expert"


LAYER_CLASSES = (
    TensorClass.NORM,
    TensorClass.ATTENTION,
    TensorClass.ROUTER,
    TensorClass.DENSE_FFN,
    TensorClass.SHARED_EXPERT,
)
"""Classes of a layer outside its routed experts: they live and move together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """The geometry of one attention layer, all that its cost and its KV cache depend on.

    ``kv_elements_per_token`` counts elements of the cache a token leaves in this layer: 2·kv_heads·head_dim for
    grouped-query attention, kv_lora_rank + qk_rope_head_dim for MLA. ``window_tokens`` bounds a sliding window.
    ``score_elements`` and ``value_elements`` are num_heads times the dimension over which scores are taken and
    values are summed: a context of S costs 2·S·(score_elements + value_elements) FLOPs a token.

    A linear-attention layer has a recurrent state instead: ``state_elements`` that every token updates and reads, kept with the
    convolution's last inputs in ``state_bytes`` a sequence, whatever its length.
    """

    num_heads: int
    kv_elements_per_token: int
    score_elements: int
    value_elements: int
    window_tokens: int | None = None
    state_elements: int = 0
    state_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One decoder layer. ``num_experts`` and ``top_k`` are 0 in a dense layer.

    ``params`` and ``bytes`` count the weights of the classes in LAYER_CLASSES for the layer, and of EXPERT for *one* routed expert.
    """

    attention: Attention
    num_experts: int
    top_k: int
    params: Mapping[TensorClass, int]
    bytes: Mapping[TensorClass, int]

    @property
    def is_moe(self) -> bool:
        """Whether the layer routes tokens to experts."""
        return self.num_experts > 0

    @cached_property
    def expert_bytes(self) -> int:
        """Bytes of one routed expert (0 in a dense layer)."""
        return self.bytes.get(TensorClass.EXPERT, 0)

    @cached_property
    def dense_bytes(self) -> int:
        """Bytes of everything but the routed experts."""
        return sum(self.bytes.get(tensor_class, 0) for tensor_class in LAYER_CLASSES)

    @cached_property
    def dense_params(self) -> int:
        """Weights of everything but the routed experts."""
        return sum(self.params.get(tensor_class, 0) for tensor_class in LAYER_CLASSES)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A decoder: one that routes to experts in some layers, or a dense one, whose counts of experts are 0.

    ``hidden``, ``expert_intermediate`` (0 in a dense one) and ``vocab`` are dimensions.
    ``top_params`` / ``top_bytes`` hold EMBEDDING, HEAD (absent when tied to the embedding) and the final NORM.
    ``dtypes`` names the storage format of each class. ``activation_bytes`` is the size of one activation element,
    ``kv_element_bytes`` of one KV-cache element. ``left_out`` says in words what the source describes besides the decoder.
    """

    name: str
    family: str
    hidden: int
    vocab: int
    expert_intermediate: int
    layers: tuple[Layer, ...]
    top_params: Mapping[TensorClass, int]
    top_bytes: Mapping[TensorClass, int]
    dtypes: Mapping[TensorClass, str]
    quantization: str
    max_context_tokens: int
    provenance: Provenance
    is_head_tied: bool = False
    activation_bytes: int = 2
    kv_element_bytes: float = 2.0
    default_routing: str = "uniform"
    left_out: tuple[str, ...] = ()

    @property
    def num_layers(self) -> int:
        """All decoder layers, dense ones included."""
        return len(self.layers)

    @cached_property
    def moe_layers(self) -> tuple[int, ...]:
        """Indices of the layers that route."""
        return tuple(index for index, layer in enumerate(self.layers) if layer.is_moe)

    @cached_property
    def shapes(self) -> tuple[list[int], NDArray[np.int64]]:
        """See ``layer_shapes``."""
        return _shapes_of(self)

    @property
    def is_dense(self) -> bool:
        """Whether no layer routes."""
        return not self.moe_layers

    @cached_property
    def num_experts(self) -> int:
        """Routed experts per MoE layer (the largest, should layers differ)."""
        return max(layer.num_experts for layer in self.layers)

    @cached_property
    def top_k(self) -> int:
        """Routed experts a token selects per MoE layer."""
        return max(layer.top_k for layer in self.layers)

    @cached_property
    def expert_params(self) -> int:
        """Weights of one routed expert."""
        return max(layer.params.get(TensorClass.EXPERT, 0) for layer in self.layers)

    @cached_property
    def expert_bytes(self) -> int:
        """Bytes of the largest routed expert."""
        return max(layer.expert_bytes for layer in self.layers)

    @cached_property
    def total_params(self) -> int:
        """All weights."""
        routed = sum(layer.num_experts * layer.params.get(TensorClass.EXPERT, 0) for layer in self.layers)
        return routed + self.non_expert_params

    @cached_property
    def non_expert_params(self) -> int:
        """All weights but those of routed experts."""
        return sum(self.top_params.values()) + sum(layer.dense_params for layer in self.layers)

    @cached_property
    def active_params(self) -> int:
        """Weights that take part in one token: everything but the routed experts it does not select."""
        routed = sum(layer.top_k * layer.params.get(TensorClass.EXPERT, 0) for layer in self.layers)
        return routed + self.non_expert_params

    @cached_property
    def total_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(layer.num_experts * layer.expert_bytes for layer in self.layers) + self.non_expert_bytes

    @cached_property
    def non_expert_bytes(self) -> int:
        """Bytes of all weights but those of routed experts."""
        return sum(self.top_bytes.values()) + sum(layer.dense_bytes for layer in self.layers)

    @cached_property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token leaves in the KV caches of all layers (before any window)."""
        elements = sum(layer.attention.kv_elements_per_token for layer in self.layers)
        return round(elements * self.kv_element_bytes)

    def kv_bytes(self, context_tokens: int) -> int:
        """KV bytes of one sequence of that length: of a window at most the window, of a linear-attention layer its constant state."""
        return sum(self.layer_kv_bytes(index, context_tokens) for index in range(self.num_layers))

    def layer_kv_bytes(self, layer: int, context_tokens: int) -> int:
        """KV bytes of one sequence of that length in one layer, a recurrent state included."""
        attention = self.layers[layer].attention
        kept = context_tokens if attention.window_tokens is None else min(context_tokens, attention.window_tokens)
        return round(kept * attention.kv_elements_per_token * self.kv_element_bytes) + attention.state_bytes

    def renamed(self, name: str) -> "Model":
        """The same model under another name."""
        return replace(self, name=name)


def without_zeros(counts: Mapping[TensorClass, int]) -> Mapping[TensorClass, int]:
    """The counts that are not zero."""
    return {tensor_class: count for tensor_class, count in counts.items() if count}


def layer_shapes(model: Model) -> tuple[list[int], NDArray[np.int64]]:
    """One representative layer per distinct shape, and the shape number of every layer. Not to be changed: a model's are made once."""
    return model.shapes


def _shapes_of(model: Model) -> tuple[list[int], NDArray[np.int64]]:
    keys: dict[tuple[object, ...], int] = {}
    representatives: list[int] = []
    numbers = []
    for index, layer in enumerate(model.layers):
        key = _shape(layer)
        if key not in keys:
            keys[key] = len(representatives)
            representatives.append(index)
        numbers.append(keys[key])
    return representatives, np.array(numbers, np.int64)


def _shape(layer: Layer) -> tuple[object, ...]:
    return (layer.attention, layer.num_experts, layer.top_k, tuple(sorted(layer.params.items())), tuple(sorted(layer.bytes.items())))
