"""The work of one step of a runtime by device: bytes, weights and operations.

No rates but those of the datasheet are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sim.model.model import Attention, Layer, Model, TensorClass, layer_shapes
from sim.runtimes.host import HostGpu, RuntimeHost
from sim.runtimes.placement import CardSlices, DevicePlacement, FloatArray, IntArray
from sim.runtimes.tensors import is_compressed

STATE_BYTES = 4
"""Bytes of an activation that crosses between devices: it is a 32-bit number."""

EXPANSION_PASSES = 4
"""How often expanded keys and values are read or written as 32 bits: the product writes them, casts
to 16 bits read and write, and so do concatenation and attention (build_deepseek2.cpp).
"""


COMPRESSING_LAYERS = 6
"""Usual layers that launch as many kernels as one compressing layer (DeepSeek-V4's).

Such a layer caches one entry for several tokens. Its compressor, its indexer and its four residual
streams are chains of small kernels. On an RTX PRO 6000 llama.cpp decodes DeepSeek-V4-Flash in
UD-Q2_K_XL at 60.5 tokens/s with fused streams (its pull request 23122). That leaves 230
microseconds for a layer beside what it reads, six times a usual layer's 38. gLLM's pull request 264
counts 196 kernels a layer.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLoad:
    """What one step computes: ``tokens`` of one sequence, which follow ``context_tokens`` others.

    ``kv_element_bytes`` are the bytes of one element of KV. ``experts_per_token`` replaces the
    model's number where the arguments do. ``uploads_experts`` says whether routed experts in host
    memory are copied to a GPU and computed there, ``uploads_dense`` whether other matrices are.
    With ``copies_idle_experts``, experts that no token selects are copied too. With
    ``is_pageable``, the memory that is copied from is not pinned. With ``reads_over_link``, nothing
    is copied: a GPU's kernels read weights where they are, in host memory. With ``expands_cache``,
    a compressed cache is expanded into keys and values of all heads. With ``uploads_cache``,
    attention whose matrices are copied to a GPU runs there, and its KV cache is copied along.
    """

    tokens: int
    context_tokens: float
    kv_element_bytes: float
    experts_per_token: int | None = None
    uploads_experts: bool = False
    uploads_dense: bool = False
    copies_idle_experts: bool = False
    is_pageable: bool = False
    reads_over_link: bool = False
    expands_cache: bool = False
    uploads_cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """The work of one step, or of many steps as arrays.

    Fields in seconds are amounts over the datasheet's rates; the others are counts. Weights count
    multiplications of a weight by a token; bytes are read once a step. ``gpu_pad_s`` is what one
    more token of every expert in use would take, since grouped products round an expert's tokens
    up. ``gpu_layers`` counts by launches: a layer with many kernels counts as several.
    """

    gpu_read_s: Any
    gpu_matrix_s: Any
    gpu_pad_s: Any
    gpu_activation_s: Any
    gpu_experts: Any
    gpu_expansion_s: Any
    gpu_kv_s: Any
    gpu_attention_s: Any
    gpu_layers: Any
    upload_s: Any
    crossing_s: Any
    crossings: Any
    gpu_crossings: Any
    cpu_expert_bytes: Any
    cpu_dense_bytes: Any
    cpu_kv_bytes: Any
    cpu_expert_weights: Any
    cpu_dense_weights: Any
    cpu_attention_flops: Any
    cpu_dense_layers: Any


def work_of(
    model: Model, placement: DevicePlacement, host: RuntimeHost, load: StepLoad
) -> StepWork:
    """Count what one step computes, reads and copies on each device."""
    table = _LayerTable.of(model, load)
    devices = _Computed.of(placement, load)
    slices = placement.slices
    of_cache = None if slices is None else slices.attention
    of_head = None if slices is None else slices.head
    num_sums = 0 if slices is None else slices.num_sums
    head_bytes = model.top_bytes.get(model.head_class, 0)
    head_params = model.top_params.get(model.head_class, 0)
    # The slowest link: work passes the GPUs one after the other. Without a GPU nothing is copied.
    link = min((_link_bytes_per_s(gpu, load) for gpu in host.gpus), default=1.0)
    reading = [gpu.bytes_per_s for gpu in host.gpus]
    computing = [gpu.flops_per_s for gpu in host.gpus]
    uploaded = devices.uploaded_bytes(table, placement)
    attention_on_host = devices.attention < 0
    dense_on_host = devices.dense < 0
    kv_on_host = devices.kv < 0
    head_on_host = float(placement.head < 0)
    return StepWork(
        gpu_read_s=devices.on_gpus(
            table.attention_bytes, table.dense_bytes, table.expert_bytes, reading
        )
        + _at(placement.head, head_bytes, reading, of_head)
        - (uploaded / reading[0] if load.reads_over_link and uploaded else 0.0),
        gpu_matrix_s=devices.on_gpus(
            2 * load.tokens * table.attention_params,
            2 * load.tokens * table.dense_params,
            2 * table.expert_products,
            computing,
        )
        + _per_gpu(devices.kv, 2 * table.expansion_products, computing, of_cache)
        + _at(placement.head, 2 * head_params, computing, of_head),
        gpu_pad_s=devices.experts_on_gpus(2 * table.distinct_params, computing),
        gpu_activation_s=devices.experts_on_gpus(table.activation_bytes, reading),
        gpu_experts=devices.experts_on_gpus(table.distinct_experts, [1.0] * len(host.gpus)),
        gpu_expansion_s=_per_gpu(
            devices.kv, EXPANSION_PASSES * STATE_BYTES * table.expanded_elements, reading, of_cache
        ),
        gpu_kv_s=_per_gpu(devices.kv, table.kv_bytes, reading, of_cache),
        gpu_attention_s=_per_gpu(devices.kv, table.attention_flops, computing, of_cache),
        gpu_layers=float(np.sum((devices.attention >= 0) * table.launching_layers)),
        upload_s=uploaded / link,
        crossing_s=(placement.num_crossings + num_sums)
        * load.tokens
        * model.hidden
        * STATE_BYTES
        / link,
        crossings=float(placement.num_crossings),
        gpu_crossings=float(placement.crossings_between_gpus),
        cpu_expert_bytes=float(np.sum(devices.expert_fraction[:, 0] * table.expert_bytes))
        * placement.cpu_expert_bytes_factor,
        cpu_dense_bytes=float(
            np.sum(attention_on_host * table.attention_bytes)
            + np.sum(dense_on_host * table.dense_bytes)
            + head_on_host * head_bytes
        ),
        cpu_kv_bytes=float(np.sum(kv_on_host * table.kv_bytes)),
        cpu_expert_weights=float(np.sum(devices.expert_fraction[:, 0] * table.expert_products)),
        cpu_dense_weights=float(
            load.tokens * np.sum(attention_on_host * table.attention_params)
            + load.tokens * np.sum(dense_on_host * table.dense_params)
            + np.sum(kv_on_host * table.expansion_products)
            + head_on_host * head_params
        ),
        cpu_attention_flops=float(np.sum(kv_on_host * table.attention_flops)),
        cpu_dense_layers=float(np.sum(attention_on_host)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    """The devices that compute the parts of each layer: where they lie, or are copied to."""

    attention: IntArray
    dense: IntArray
    kv: IntArray
    expert_fraction: FloatArray
    slices: CardSlices | None

    @classmethod
    def of(cls, placement: DevicePlacement, load: StepLoad) -> "_Computed":
        """Return the placement's devices, with uploads moved to their layer's GPU, or GPU 0."""
        fractions = placement.expert_fraction.copy()
        # A layer on the host is computed by the first GPU where its weights are copied.
        target = np.maximum(placement.attention, 0)
        if load.uploads_experts:
            fractions[np.arange(len(target)), target + 1] += fractions[:, 0]
            fractions[:, 0] = 0.0
        if not load.uploads_dense:
            return cls(
                attention=placement.attention,
                dense=placement.dense,
                kv=placement.kv,
                expert_fraction=fractions,
                slices=placement.slices,
            )
        dense = np.where(placement.dense < 0, target, placement.dense)
        is_moved = (placement.kv < 0) & (placement.attention < 0) & load.uploads_cache
        kv = np.where(is_moved, target, placement.kv)
        return cls(
            attention=target,
            dense=dense,
            kv=kv,
            expert_fraction=fractions,
            slices=placement.slices,
        )

    def on_gpus(
        self, attention: FloatArray, dense: FloatArray, experts: FloatArray, rates: list[float]
    ) -> float:
        """Return the seconds of amounts [layer] of the three parts at the GPUs' rates [GPU]."""
        own = self.slices
        whole = _per_gpu(
            self.attention, attention, rates, None if own is None else own.attention
        ) + _per_gpu(self.dense, dense, rates, None if own is None else own.dense)
        return whole + self.experts_on_gpus(experts, rates)

    def experts_on_gpus(self, amounts: FloatArray, rates: list[float]) -> float:
        """Return the seconds of amounts [layer] of routed experts at the GPUs' rates [GPU]."""
        shares = self.expert_fraction[:, 1:]
        if self.slices is not None:
            held = shares.sum(axis=1)
            return float(np.sum(held * amounts * _last(self.slices.experts, rates)))
        return float(sum(np.sum(shares[:, gpu] * amounts) / rate for gpu, rate in enumerate(rates)))

    def uploaded_bytes(self, table: "_LayerTable", placement: DevicePlacement) -> float:
        """Return the bytes of weights and KV that lie on the host and are computed on a GPU."""
        experts = (
            placement.expert_fraction[:, 0] - self.expert_fraction[:, 0]
        ) * table.copied_expert_bytes
        attention = (placement.attention < 0) & (self.attention >= 0)
        dense = (placement.dense < 0) & (self.dense >= 0)
        kv = (placement.kv < 0) & (self.kv >= 0)
        moved = np.sum(attention * table.attention_bytes) + np.sum(dense * table.dense_bytes)
        return float(np.sum(experts) + moved + np.sum(kv * table.kv_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayerTable:
    """What a step touches in each layer: every column is an array over layers."""

    attention_bytes: FloatArray
    attention_params: FloatArray
    dense_bytes: FloatArray
    dense_params: FloatArray
    expert_bytes: FloatArray
    copied_expert_bytes: FloatArray
    expert_products: FloatArray
    distinct_experts: FloatArray
    distinct_params: FloatArray
    activation_bytes: FloatArray
    kv_bytes: FloatArray
    attention_flops: FloatArray
    expanded_elements: FloatArray
    expansion_products: FloatArray
    launching_layers: FloatArray

    @classmethod
    def of(cls, model: Model, load: StepLoad) -> "_LayerTable":
        """Return the table of a step; each distinct shape of a layer is counted once."""
        shapes, numbers = layer_shapes(model)
        table = cls._of_layers([model.layers[index] for index in shapes], model.hidden, load)
        columns = {item.name: getattr(table, item.name)[numbers] for item in fields(cls)}
        return cls(**columns)

    @classmethod
    def _of_layers(cls, layers: Sequence[Layer], hidden: int, load: StepLoad) -> "_LayerTable":
        attention = np.array([layer.bytes.get(TensorClass.ATTENTION, 0) for layer in layers], float)
        attention_params = np.array(
            [layer.params.get(TensorClass.ATTENTION, 0) for layer in layers], float
        )
        experts = np.array([layer.num_experts for layer in layers], float)
        chosen = np.array([_chosen(layer.top_k, load) for layer in layers], float)
        first = np.asarray(float(load.context_tokens))
        end = np.asarray(first + load.tokens)
        read = np.array([float(layer.elements_read(first, end)) for layer in layers])
        pairs = np.array([float(layer.pair_elements_per_token(first, end)) for layer in layers])
        expert_params = np.array(
            [layer.params.get(TensorClass.EXPERT, 0) for layer in layers], float
        )
        state = np.array([layer.state_bytes for layer in layers], float)
        distinct = _distinct(experts, chosen, load.tokens)
        sizes = np.array([layer.expert_bytes for layer in layers], float)
        expanded, products = _expansion(layers, load)
        return cls(
            attention_bytes=attention,
            attention_params=attention_params,
            activation_bytes=STATE_BYTES * chosen * load.tokens * _widths(layers, hidden),
            dense_bytes=np.array([layer.dense_bytes for layer in layers], float) - attention,
            dense_params=np.array([layer.dense_params for layer in layers], float)
            - attention_params,
            expert_bytes=distinct * sizes,
            copied_expert_bytes=(experts if load.copies_idle_experts else distinct) * sizes,
            expert_products=chosen * load.tokens * expert_params,
            distinct_experts=distinct,
            distinct_params=distinct * expert_params,
            kv_bytes=read * load.kv_element_bytes + state,
            attention_flops=2.0 * load.tokens * pairs,
            expanded_elements=expanded,
            expansion_products=products,
            launching_layers=np.array([_launching_layers(layer) for layer in layers], float),
        )


def _launching_layers(layer: Layer) -> int:
    attention = layer.attention
    is_usual = attention is None or attention.tokens_per_entry is None
    return 1 if is_usual else COMPRESSING_LAYERS


def _link_bytes_per_s(gpu: HostGpu, load: StepLoad) -> float:
    is_slower = load.is_pageable and gpu.pageable_bytes_per_s is not None
    return gpu.pageable_bytes_per_s or 0.0 if is_slower else gpu.link_bytes_per_s


def _expansion(layers: Sequence[Layer], load: StepLoad) -> tuple[FloatArray, FloatArray]:
    """Return the elements [layer] expanded from a compressed cache, and the products for that.

    Each cached token's latent part is multiplied by the matrix of all heads.
    """
    elements = np.zeros(len(layers))
    products = np.zeros(len(layers))
    if not load.expands_cache:
        return elements, products
    for index, layer in enumerate(layers):
        attention = layer.attention
        if attention is None or not is_compressed(attention):
            continue
        elements[index] = (load.context_tokens + load.tokens) * made_elements(attention)
        products[index] = elements[index] * attention.value_elements / attention.num_heads
    return elements, products


def made_elements(attention: Attention) -> float:
    """Return the elements of a token's keys and values that are made from a compressed cache.

    They are those of all heads without the rotary part, which heads share as it is.
    """
    latent = attention.value_elements / attention.num_heads
    rotary = attention.kv_elements_per_token - latent
    return max(0.0, attention.expanded_elements - attention.num_heads * rotary)


def _widths(layers: Sequence[Layer], hidden: int) -> FloatArray:
    """Return how many numbers one token has in one expert: its state, and those in between."""
    weights = np.array([layer.params.get(TensorClass.EXPERT, 0) for layer in layers], float)
    return np.asarray(hidden * (weights > 0) + weights / (3 * hidden), float)


def _chosen(top_k: int, load: StepLoad) -> int:
    return top_k if load.experts_per_token is None else min(top_k, load.experts_per_token)


def _distinct(experts: FloatArray, chosen: FloatArray, tokens: int) -> FloatArray:
    """Return how many experts of each layer tokens select, evenly and independently [layer]."""
    # Dense layers have no experts and no share.
    share = np.divide(chosen, experts, out=np.zeros_like(chosen), where=experts > 0)
    return np.asarray(experts * (1 - (1 - share) ** tokens), float)


def _per_gpu(
    devices: IntArray, amounts: FloatArray, rates: list[float], slices: FloatArray | None = None
) -> float:
    """Return the seconds of amounts [layer] on their devices, one after the other.

    With ``slices`` [layer, GPU], all GPUs work on their slices at once. What is on the host counts
    nothing.
    """
    if slices is not None:
        return float(np.sum((amounts * _last(slices, rates))[devices >= 0]))
    # Layers follow each other, so GPUs work in turn, never at once.
    return float(sum(np.sum(amounts[devices == gpu]) / rate for gpu, rate in enumerate(rates)))


def _last(slices: FloatArray, rates: list[float]) -> FloatArray:
    """Seconds until the last GPU ends its slice of an amount of 1."""
    return np.asarray((slices / np.array(rates)).max(axis=-1), float)


def _at(device: int, amount: float, rates: list[float], slices: FloatArray | None = None) -> float:
    """Seconds of an amount on a device, or of its slices on all GPUs; nothing on the host."""
    if device < 0:
        return 0.0
    return amount / rates[device] if slices is None else float(amount * _last(slices, rates))


def has_compressed_cache(model: Model) -> bool:
    """Whether keys and values are cached compressed (MLA) in all layers that have attention."""
    found = [layer.attention for layer in model.layers if layer.attention is not None]
    return bool(found) and all(is_compressed(attention) for attention in found)


def queries_per_key(model: Model) -> float:
    """Query heads that share a key head, 1 for a compressed cache and where no layer has attention."""
    found = [layer.attention for layer in model.layers if layer.attention is not None]
    if not found or is_compressed(found[-1]):
        return 1.0
    # Keys are half of what is cached, and scores run over the queries' elements.
    return 2 * found[-1].score_elements / found[-1].kv_elements_per_token
