"""Matrices and the KV cache in slices over the GPUs, which all compute at once (-sm tensor).

The rules are from src/llama-model.cpp (llama_meta_device_get_split_state) and ggml-backend-meta.cpp
of llama.cpp, August 2026. Heads of attention with their keys and values, the width of dense and
routed experts, and the vocabulary are cut. Norms, routers and shared experts are whole on every
GPU.

The results of attention and of a feed-forward are partial sums, which the GPUs add up. Such a sum
waits as a change of device does. Published pairs of speeds leave 34 to 70 microseconds a sum, with
two GPUs or four (docs/explanation/expert-caches.md). The CPU computes experts in host memory, also
for prompts.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwprofiles import InputError
from sim.model.model import Layer, Model, TensorClass
from sim.runtimes.formats import block_weights
from sim.runtimes.kv import cached_model
from sim.runtimes.llama_cpp.arguments import TENSOR, LlamaArguments
from sim.runtimes.placement import CardSlices, DevicePlacement, FloatArray
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.work import has_compressed_cache

FULL_KERNEL = 128
"""A feed-forward is cut only at multiples of this width, so that kernels stay whole."""


def with_slices(question: RuntimeQuestion, placement: DevicePlacement) -> DevicePlacement:
    """Return the placement with slices over all GPUs of what lies on the first GPU.

    It changes only with -sm tensor on several GPUs. Raises InputError for arguments and models that
    llama.cpp refuses with it.
    """
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments) or arguments.split_mode != TENSOR:
        return placement
    num_gpus = placement.num_gpus
    gpus = range(num_gpus) if arguments.devices is None else arguments.devices
    if len(gpus) < 2:
        return placement
    _check(question, arguments)
    parts = _shares(arguments, len(gpus))
    found = np.zeros((question.model.num_layers, 3, num_gpus))
    cutter = _Cutter(model=question.model, quantization=question.quantization, shares=parts)
    found[:, :, list(gpus)] = cutter.layers()
    head = np.zeros(num_gpus)
    # A head that is the embedding is whole on every GPU.
    head[list(gpus)] = 1.0 if question.model.is_head_tied else parts
    slices = CardSlices(
        attention=found[:, 0],
        dense=found[:, 1],
        experts=found[:, 2],
        head=head,
        num_sums=_num_sums(question.model, placement),
    )
    return replace(
        placement,
        slices=slices,
        # NCCL adds up in one call, for any number of GPUs; builds without it take one for each pair.
        crossings_between_gpus=slices.num_sums,
        weight_bytes=_weights(question.model, placement, slices),
    )


def cut(width: int, unit: int, shares: Sequence[float], first: int) -> FloatArray:
    """Return each GPU's fraction [GPU] of a width that can be cut only at multiples of ``unit``.

    Beginning with GPU ``first``, each GPU takes its share rounded down to whole units. The last
    takes what is left.
    """
    count = len(shares)
    parts = np.zeros(count)
    total = 0.0
    before = 0
    for place in range(count):
        gpu = (first + place) % count
        total += shares[gpu]
        end = width if place == count - 1 else math.floor(width * total / sum(shares) + 1e-9)
        end -= 0 if place == count - 1 else end % unit
        parts[gpu] = (end - before) / width
        before = end
    return parts


def _check(question: RuntimeQuestion, arguments: LlamaArguments) -> None:
    where = f"{question.runtime} argument -sm tensor"
    if arguments.is_flash_attention is False:
        raise InputError(f"{where}: flash attention is needed, got -fa off")
    if arguments.expert_cache_mib:
        raise InputError(f"{where}: what --moe-cache-mib does with it is not known; use -sm layer")
    if has_compressed_cache(cached_model(question)):
        raise InputError(
            f"{where}: llama.cpp does not split attention over a compressed cache ({question.model.name}); "
            "use -sm layer"
        )


def _shares(arguments: LlamaArguments, count: int) -> tuple[float, ...]:
    """Each GPU's share, as -ts states it, else all alike."""
    stated = arguments.tensor_split[:count] or (1.0,) * count
    shares = stated + (0.0,) * (count - len(stated))
    return tuple(share / sum(shares) for share in shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cutter:
    """Cuts the layers of a model in its format by the GPUs' shares."""

    model: Model
    quantization: str
    shares: tuple[float, ...]

    def layers(self) -> FloatArray:
        """Return the shares [layer, part, GPU].

        The parts are attention, all else beside experts, and experts.
        """
        seen: Counter[object] = Counter()
        rows = []
        for layer in self.model.layers:
            windows = tuple(cache.window_tokens is None for cache in layer.caches)
            kind = (layer.attention is None, windows)
            # Another GPU comes first with every further layer of a kind, so that rounding evens out.
            first = seen[kind] % len(self.shares)
            seen[kind] += 1
            experts = self._feed_forward(layer, TensorClass.EXPERT, first)
            rows.append((self._attention(layer, first), self._dense(layer, first), experts))
        return np.array(rows)

    def _attention(self, layer: Layer, first: int) -> FloatArray:
        """Return each GPU's share of attention, cut at whole heads of keys and values.

        Query heads go with the keys and values that they read.
        """
        attention = layer.attention
        if attention is None or not attention.kv_elements_per_token:
            return np.array(self.shares)
        one_head = 2 * attention.value_elements / attention.num_heads
        num_heads = max(1, round(attention.kv_elements_per_token / one_head))
        return cut(num_heads, 1, self.shares, first)

    def _dense(self, layer: Layer, first: int) -> FloatArray:
        """Return each GPU's share of a layer's weights beside attention and routed experts.

        A dense feed-forward is cut; norms, routers and shared experts are whole on every GPU.
        """
        total = layer.dense_bytes - layer.bytes.get(TensorClass.ATTENTION, 0)
        split = layer.bytes.get(TensorClass.DENSE_FFN, 0) / total if total else 0.0
        whole = np.array(self.shares) > 0
        return (1 - split) * whole + split * self._feed_forward(layer, TensorClass.DENSE_FFN, first)

    def _feed_forward(self, layer: Layer, which: TensorClass, first: int) -> FloatArray:
        width = round(layer.params.get(which, 0) / (3 * self.model.hidden))
        if not width:
            return np.array(self.shares)
        unit = math.lcm(block_weights(self.quantization, width), FULL_KERNEL)
        return cut(width, unit, self.shares, first)


def _num_sums(model: Model, placement: DevicePlacement) -> int:
    """Return how many sums over the GPUs a pass has.

    There is one behind each attention on GPUs, and one behind each feed-forward of which a GPU
    holds anything that is cut.
    """
    has_experts = placement.expert_fraction[:, 1:].sum(axis=1) > 0
    has_dense = np.array(
        [bool(layer.params.get(TensorClass.DENSE_FFN, 0)) for layer in model.layers]
    )
    behind = has_experts | (has_dense & (placement.dense >= 0))
    return int(np.sum(placement.attention >= 0) + np.sum(behind))


def _weights(model: Model, placement: DevicePlacement, slices: CardSlices) -> FloatArray:
    """Return the bytes of weights by device, with the first GPU's weights in slices."""
    attention = np.array([layer.bytes.get(TensorClass.ATTENTION, 0) for layer in model.layers])
    others = np.array([layer.dense_bytes for layer in model.layers]) - attention
    experts = np.array([layer.num_experts * layer.expert_bytes for layer in model.layers])
    attention = attention * (placement.attention >= 0)
    others = others * (placement.dense >= 0)
    experts = experts * placement.expert_fraction[:, 1:].sum(axis=1)
    head = model.top_bytes.get(model.head_class, 0) * (placement.head >= 0)
    weights = placement.weight_bytes.copy()
    # Tensors are whole bytes, so that sums over classes differ by a few.
    rest = weights[1:].sum() - float(attention.sum() + others.sum() + experts.sum() + head)
    weights[1:] = (
        attention @ slices.attention
        + others @ slices.dense
        + experts @ slices.experts
        + head * slices.head
        + rest * (slices.head > 0)
    )
    return weights
