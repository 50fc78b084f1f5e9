"""Models: their layers, and how many weights and bytes of each tensor class these hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Provenance
from hwprofiles.units import BILLION, GB
from sim.model.attention import Attention, AttentionCache, Indexer, Sizes, State

__all__ = [
    "LAYER_CLASSES",
    "Attention",
    "AttentionCache",
    "Indexer",
    "Layer",
    "Model",
    "State",
    "TensorClass",
    "layer_shapes",
    "without_zeros",
]


class TensorClass(StrEnum):
    """Groups of weights that are placed, quantised and priced alike."""

    EMBEDDING = "embedding"
    LOOKUP = "lookup"
    HEAD = "head"
    NORM = "norm"
    ATTENTION = "attention"
    ROUTER = "router"
    DENSE_FFN = "dense_ffn"
    SHARED_EXPERT = "shared_expert"
    EXPERT = "expert"


# Routed experts are left out: each of them has a place of its own.
LAYER_CLASSES = (
    TensorClass.NORM,
    TensorClass.ATTENTION,
    TensorClass.ROUTER,
    TensorClass.DENSE_FFN,
    TensorClass.SHARED_EXPERT,
)
"""Classes of a layer outside its routed experts: they live and move together."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One decoder layer: attention, a state, a dense feed-forward, experts; each or none.

    A layer without attention keeps no KV. ``num_experts`` and ``top_k`` are 0 in a layer without
    experts. ``params`` counts weights, ``bytes`` their bytes: of LAYER_CLASSES those of the layer,
    of EXPERT those of *one* routed expert. Weights that stand in attention's place, such as a
    state's, count as ATTENTION. ``card`` is the number of the GPU that the layer is laid out on,
    where layers are laid out over several. Equal layers cost differently on unlike cards.
    """

    attention: Attention | None = None
    state: State | None = None
    num_experts: int
    top_k: int
    params: Mapping[TensorClass, int]
    bytes: Mapping[TensorClass, int]
    card: int = 0

    @property
    def has_mixer(self) -> bool:
        """Whether something stands before the feed-forward: attention, a state, or weights in their
        place.
        """
        return (
            self.attention is not None
            or self.state is not None
            or TensorClass.ATTENTION in self.params
        )

    @property
    def state_bytes(self) -> int:
        """Bytes of a sequence's state."""
        return 0 if self.state is None else self.state.bytes

    @property
    def state_elements(self) -> int:
        """Elements of a sequence's recurrent state."""
        return 0 if self.state is None else self.state.elements

    @property
    def caches(self) -> tuple[AttentionCache, ...]:
        """The caches of the layer's attention, none where it has none."""
        return () if self.attention is None else self.attention.caches

    def kv_elements(self, context_tokens: int) -> int:
        """Elements of the KV cache of a sequence of that many tokens."""
        return sum(cache.kept_elements(context_tokens) for cache in self.caches)

    def elements_read(self, first: Sizes, end: Sizes) -> Sizes:
        """Elements of the KV cache that a sequence's tokens first … end − 1 read together."""
        return sum(
            (cache.elements_read(first, end) for cache in self.caches), np.zeros(np.shape(end))
        )

    def pair_elements_per_token(self, first: Sizes, end: Sizes) -> Sizes:
        """Elements over which one token takes scores and sums values, as the mean over the tokens
        first … end − 1.
        """
        return sum(
            (cache.pair_elements_per_token(first, end) for cache in self.caches),
            np.zeros(np.shape(end)),
        )

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


@dataclass(frozen=True, kw_only=True, repr=False)
class Model:
    """A decoder: one that routes to experts in some layers, or a dense one, whose counts of experts
    are 0.

    ``hidden``, ``expert_intermediate`` (0 in a dense one) and ``vocab`` are dimensions.
    ``top_params`` / ``top_bytes`` hold the classes outside the layers: EMBEDDING, HEAD (absent when
    tied to the embedding), the final NORM, and LOOKUP. Lookup tables stay in host memory; a token
    reads a few rows of them (n-grams, embeddings by layer). ``dtypes`` names the storage format of
    each class. ``activation_bytes`` is the size of one activation element, ``kv_element_bytes`` of
    one KV-cache element. ``left_out`` says in words what the source describes besides the decoder.
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
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Sizes in words; ``dataclasses.asdict`` has every number."""
        weights = f"{self.total_params / BILLION:.3g} B weights"
        stored = f"{self.total_bytes / GB:.3g} GB in {self.quantization}"
        return f"<Model {self.name}: {self.num_layers} layers, {weights}, {stored}>"

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
        """The index of one layer for each distinct shape, and the shape number of every layer,
        int64 [layers].
        """
        return _shapes_of(self)

    @property
    def head_class(self) -> TensorClass:
        """The class in which the weights of the output head are counted: EMBEDDING where the head
        is tied to it, else HEAD.
        """
        return TensorClass.EMBEDDING if self.is_head_tied else TensorClass.HEAD

    @property
    def is_dense(self) -> bool:
        """Whether no layer routes."""
        return not self.moe_layers

    @cached_property
    def num_experts(self) -> int:
        """Routed experts per MoE layer (the most, should layers differ)."""
        return max(layer.num_experts for layer in self.layers)

    @cached_property
    def top_k(self) -> int:
        """Routed experts that a token selects per MoE layer (the most, should layers differ)."""
        return max(layer.top_k for layer in self.layers)

    @cached_property
    def expert_params(self) -> int:
        """Weights of the largest routed expert."""
        return max(layer.params.get(TensorClass.EXPERT, 0) for layer in self.layers)

    @cached_property
    def expert_bytes(self) -> int:
        """Bytes of the largest routed expert."""
        return max(layer.expert_bytes for layer in self.layers)

    @cached_property
    def total_params(self) -> int:
        """The number of weights of the model."""
        routed = sum(
            layer.num_experts * layer.params.get(TensorClass.EXPERT, 0) for layer in self.layers
        )
        return routed + self.non_expert_params

    @cached_property
    def non_expert_params(self) -> int:
        """All weights but those of routed experts."""
        return sum(self.top_params.values()) + sum(layer.dense_params for layer in self.layers)

    @cached_property
    def active_params(self) -> int:
        """Weights that take part in one token: all but lookup tables and the routed experts it does
        not select.
        """
        routed = sum(layer.top_k * layer.params.get(TensorClass.EXPERT, 0) for layer in self.layers)
        return routed + self.non_expert_params - self.top_params.get(TensorClass.LOOKUP, 0)

    @cached_property
    def total_bytes(self) -> int:
        """Bytes of all weights."""
        return (
            sum(layer.num_experts * layer.expert_bytes for layer in self.layers)
            + self.non_expert_bytes
        )

    @cached_property
    def non_expert_bytes(self) -> int:
        """Bytes of all weights but those of routed experts."""
        return sum(self.top_bytes.values()) + sum(layer.dense_bytes for layer in self.layers)

    @cached_property
    def head_bytes(self) -> int:
        """Bytes outside the layers that go where the head goes: all but lookup tables."""
        return sum(self.top_bytes.values()) - self.top_bytes.get(TensorClass.LOOKUP, 0)

    @cached_property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token leaves in the KV caches of all layers (before any window).

        Where layers compress their caches, windows do not count: they are a constant, as states
        are.
        """
        caches = [cache for layer in self.layers for cache in layer.caches if not cache.is_borrowed]
        # A window's share of a long context goes to nothing, while compressed entries grow with it.
        if any(cache.tokens_per_entry > 1 for cache in caches):
            caches = [cache for cache in caches if cache.window_tokens is None]
        elements = sum(cache.elements / cache.tokens_per_entry for cache in caches)
        return round(elements * self.kv_element_bytes)

    @cached_property
    def state_bytes(self) -> int:
        """Bytes of the states of one sequence."""
        return sum(layer.state_bytes for layer in self.layers)

    def kv_bytes(self, context_tokens: int) -> int:
        """KV bytes of one sequence of that length, states included. A layer with a window keeps no
        more than the window.
        """
        return sum(self.layer_kv_bytes(index, context_tokens) for index in range(self.num_layers))

    def layer_kv_bytes(self, layer: int, context_tokens: int) -> int:
        """KV bytes of one sequence of that length in one layer, a state included."""
        spec = self.layers[layer]
        return round(spec.kv_elements(context_tokens) * self.kv_element_bytes) + spec.state_bytes

    def dtype(self, tensor_class: TensorClass) -> str:
        """The storage format of a class; for a class that the model lacks, the format of the class
        with most bytes.
        """
        return self.dtypes.get(tensor_class) or self._main_dtype

    @cached_property
    def _main_dtype(self) -> str:
        sizes = dict.fromkeys(TensorClass, 0)
        for tensor_class, size in self.top_bytes.items():
            sizes[tensor_class] += size
        for layer in self.layers:
            for tensor_class, size in layer.bytes.items():
                sizes[tensor_class] += size * (
                    layer.num_experts if tensor_class is TensorClass.EXPERT else 1
                )
        # In the order of the classes, so that of two equal ones always the same is taken.
        known = [tensor_class for tensor_class in TensorClass if tensor_class in self.dtypes]
        return self.dtypes[max(known, key=lambda tensor_class: sizes[tensor_class])]


def without_zeros(counts: Mapping[TensorClass, int]) -> Mapping[TensorClass, int]:
    """The counts that are not zero."""
    return {tensor_class: count for tensor_class, count in counts.items() if count}


def layer_shapes(model: Model) -> tuple[list[int], NDArray[np.int64]]:
    """Return the index of one layer for each distinct shape, and the shape number of every layer,
    int64 [layers].

    Callers must not change them: a model makes them once.
    """
    # The model keeps it, since every table of prices asks for it again.
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
    return (
        layer.attention,
        layer.state,
        layer.num_experts,
        layer.top_k,
        tuple(sorted(layer.params.items())),
        tuple(sorted(layer.bytes.items())),
        layer.card,
    )
