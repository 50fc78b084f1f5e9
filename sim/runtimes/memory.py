"""Memory that a runtime holds on each device, in bytes: weights, KV cache, compute buffers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwprofiles.units import MIB
from sim.model.model import AttentionCache, layer_shapes
from sim.runtimes.accelerate.arguments import AccelerateArguments
from sim.runtimes.accelerate.placement import largest_copied_bytes
from sim.runtimes.graph_bytes import GraphBytes
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.kv import (
    EXPANDING_MODES,
    attention_buffer_mib,
    cached_model,
    kv_element_bytes,
    mla_mode,
)
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.buffers import graph_bytes, uploads_micro_batch
from sim.runtimes.placement import DevicePlacement
from sim.runtimes.question import RuntimeQuestion
from sim.runtimes.tensors import is_compressed
from sim.runtimes.vllm.arguments import VllmArguments
from sim.runtimes.vllm.placement import copied_layer_bytes
from sim.runtimes.work import made_elements

ACTIVATION_BYTES = 4
ACTIVATIONS_PER_HIDDEN = 18
"""Activations of a token that live at once, over the hidden size.

It is for programs other than llama.cpp and ik_llama.cpp; the number is that of llama.cpp with eight
experts a token.
"""

KV_PADDING_TOKENS = 256
KV_COPY_BYTES = 2
COPIES_IN_PIECES_SINCE = 1211
"""The pull request of ik_llama.cpp, of 2026-01-31, since which keys and values expand in pieces.

Each piece is used before the next is made.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Bytes on one device, by purpose.

    ``expert_cache`` is the cache of experts that --moe-cache-mib asks for.
    """

    weights: int
    kv: int
    compute: int
    expert_cache: int = 0

    @property
    def total(self) -> int:
        """The sum of the four, in bytes."""
        return self.weights + self.kv + self.compute + self.expert_cache


def overfull(question: RuntimeQuestion, memory: Mapping[str, DeviceMemory]) -> dict[str, float]:
    """Return by how many bytes weights and caches alone exceed a GPU's memory, by device.

    Devices with enough memory are left out. Buffers do not count, because their estimate may be too
    high. KTransformers spreads what is counted for GPU 0 over all GPUs that it uses.
    """
    arguments = question.arguments
    # Its tensors are split over the GPUs in use, so each holds its share.
    shares = arguments.num_gpus_in_use if isinstance(arguments, KtArguments) else 1
    over = {
        f"gpu{index}": memory[f"gpu{index}"].weights
        + memory[f"gpu{index}"].kv
        + memory[f"gpu{index}"].expert_cache
        - shares * gpu.memory_bytes
        for index, gpu in enumerate(question.host.gpus)
        if f"gpu{index}" in memory
    }
    return {name: num_bytes for name, num_bytes in over.items() if num_bytes > 0}


def memory_of(question: RuntimeQuestion, placement: DevicePlacement) -> dict[str, DeviceMemory]:
    """Memory of the host and of each GPU, named host, gpu0, gpu1 and so on."""
    names = ["host", *(f"gpu{index}" for index in range(placement.num_gpus))]
    kv = kv_bytes_of(question, placement)
    compute = _compute_bytes(question, placement)
    cached = _expert_cache_bytes(question, placement)
    return {
        name: DeviceMemory(
            weights=round(float(placement.weight_bytes[column])),
            kv=round(float(kv[column])),
            compute=round(float(compute[column])),
            expert_cache=round(float(cached[column])),
        )
        for column, name in enumerate(names)
    }


def _expert_cache_bytes(question: RuntimeQuestion, placement: DevicePlacement) -> np.ndarray:
    """Return the bytes of the cache that --moe-cache-mib asks for, on the host and each GPU.

    It is split over the GPUs as layers are.
    """
    found = np.zeros(placement.num_gpus + 1)
    layers = np.bincount(placement.attention + 1, minlength=placement.num_gpus + 1).astype(float)
    # Layers of the host have no GPU to cache on.
    layers[0] = 0.0
    arguments = question.arguments
    if isinstance(arguments, LlamaArguments) and layers.any():
        found = arguments.expert_cache_mib * MIB * layers / layers.sum()
    return found


def reserved_tokens(question: RuntimeQuestion) -> int:
    """Return the number of tokens that the KV cache has room for, in whole blocks.

    -c states it, else it is what the question needs.
    """
    stated = question.arguments.context_tokens
    # One more for the token that is decoded.
    needed = question.context_tokens + 1
    tokens = stated or needed
    return math.ceil(tokens / KV_PADDING_TOKENS) * KV_PADDING_TOKENS


def kv_bytes_of(question: RuntimeQuestion, placement: DevicePlacement) -> np.ndarray:
    """Bytes of keys and values on the host and on each GPU, in this order."""
    sizes = np.array(kv_bytes_by_layer(question))
    slices = placement.slices
    if slices is None:
        return np.bincount(placement.kv + 1, weights=sizes, minlength=placement.num_gpus + 1)
    on_host = placement.kv < 0
    found = np.zeros(placement.num_gpus + 1)
    found[0] = sizes[on_host].sum()
    found[1:] = sizes[~on_host] @ slices.attention[~on_host]
    return found


def kv_bytes_by_layer(question: RuntimeQuestion) -> list[float]:
    """Bytes of each layer's KV cache, with room for the tokens that are reserved."""
    tokens = reserved_tokens(question)
    element = kv_element_bytes(question)
    micro_batch = _micro_batch(question)
    model = cached_model(question)
    # Layers of one shape keep as much, and a search asks this of hundreds of arguments.
    representatives, shape_of = layer_shapes(model)
    of_shape = [
        element * sum(_kept_elements(cache, tokens, micro_batch) for cache in layer.caches)
        + layer.state_bytes
        for layer in (model.layers[index] for index in representatives)
    ]
    return [of_shape[shape] for shape in shape_of.tolist()]


def _kept_elements(cache: AttentionCache, tokens: int, micro_batch: int) -> int:
    """Return the elements of a cache with room for that many tokens.

    A sliding window has room for its own tokens and a micro-batch more.
    """
    # A micro-batch is written before any of its tokens attends, and the first must still find its
    # window.
    room = tokens if cache.window_tokens is None else min(tokens, cache.window_tokens + micro_batch)
    return room // cache.tokens_per_entry * cache.elements


def _micro_batch(question: RuntimeQuestion) -> int:
    arguments = question.arguments
    if isinstance(arguments, LlamaArguments):
        return min(arguments.micro_batch_tokens, arguments.batch_tokens)
    if isinstance(arguments, AccelerateArguments):
        return question.prompt_tokens  # it reads a prompt at once
    return arguments.chunk_tokens or 512


def _compute_bytes(question: RuntimeQuestion, placement: DevicePlacement) -> np.ndarray:
    """Return the bytes of the buffers for a micro-batch, on the host and on each GPU.

    They hold activations, or logits where the head is, experts that are copied, and expanded keys
    and values.
    """
    model = question.model
    tokens = _micro_batch(question)
    used = sorted({0, *(placement.attention + 1), placement.head + 1})
    if placement.slices is not None:
        used = [0, *(np.flatnonzero(placement.slices.attention.any(axis=0)) + 1)]
    graph = _graph_bytes(question, placement, tokens)
    logits = tokens * (model.vocab + 2 * model.hidden) * ACTIVATION_BYTES
    found = np.zeros(placement.num_gpus + 1)
    # The two pass through one buffer at different times of a layer, so the larger one counts.
    passing = max(_passing_bytes(question, placement, tokens), _expanded_bytes(question))
    for column in used:
        here = graph.stage + (graph.inputs + passing if column else graph.host_inputs)
        found[column] = max(here, logits) if column == placement.head + 1 else here
    if placement.num_gpus and not np.any(placement.attention < 0):
        found[0] = graph.host_inputs + graph.host_stage
    if placement.num_gpus:
        found[1] += _prefetch_bytes(question)
    return found


def _graph_bytes(question: RuntimeQuestion, placement: DevicePlacement, tokens: int) -> GraphBytes:
    """Bytes of the activations of a micro-batch that live at once, and of its inputs."""
    if isinstance(question.arguments, LlamaArguments):
        return graph_bytes(question, placement, tokens, reserved_tokens(question))
    state = tokens * question.model.hidden * ACTIVATION_BYTES
    return GraphBytes(
        stage=ACTIVATIONS_PER_HIDDEN * state, inputs=0, host_inputs=0, host_stage=2 * state
    )


def _prefetch_bytes(question: RuntimeQuestion) -> int:
    """Return the bytes of the buffers for layers that vLLM copies ahead.

    Nothing else uses these buffers in the meantime.
    """
    arguments = question.arguments
    if not isinstance(arguments, VllmArguments):
        return 0
    copied = copied_layer_bytes(question.model, arguments)
    return arguments.prefetch_step * max(copied, default=0)


def _passing_bytes(question: RuntimeQuestion, placement: DevicePlacement, tokens: int) -> int:
    """Return the bytes of the largest matrix of experts that is copied to a GPU for a prompt.

    For accelerate it is the largest layer, since layers are copied whole.
    """
    arguments = question.arguments
    if isinstance(arguments, AccelerateArguments):
        return largest_copied_bytes(question.model, arguments)
    if not isinstance(arguments, LlamaArguments) or not uploads_micro_batch(question, tokens):
        return 0
    sizes = [
        layer.num_experts * layer.expert_bytes // 3
        for layer, share in zip(question.model.layers, placement.expert_fraction[:, 0], strict=True)
        if share > 0
    ]
    return max(sizes, default=0)


def _expanded_bytes(question: RuntimeQuestion) -> int:
    """Return the bytes of keys and values that -mla 2 and 3 expand from the cache for a prompt.

    The whole cache is expanded in pieces of as many heads as -amb has room for (build_deepseek2.cpp
    of ik_llama.cpp). A piece is made in 32 bit, and copied in 16 with the rotary part of each head.
    """
    attention = cached_model(question).layers[-1].attention
    if not isinstance(question.arguments, LlamaArguments) or attention is None:
        return 0
    if mla_mode(question) not in EXPANDING_MODES or not is_compressed(attention):
        return 0
    tokens = reserved_tokens(question)
    made = tokens * made_elements(attention) * ACTIVATION_BYTES
    copied = tokens * attention.expanded_elements * KV_COPY_BYTES
    pieces = _pieces(attention.num_heads, made, attention_buffer_mib(question))
    # Before, the graph's allocator saw all pieces' copies at once.
    pieces_of_copies = pieces if question.build >= COPIES_IN_PIECES_SINCE else 1
    return round(made / pieces + copied / pieces_of_copies)


def _pieces(num_heads: int, num_bytes: float, limit_mib: int | None) -> int:
    """Return the least number of equal pieces of heads of which each keeps the limit.

    If there is none, each head is a piece.
    """
    if limit_mib is None:
        return 1
    each = (number for number in range(1, num_heads) if num_heads % number == 0)
    return next((number for number in each if num_bytes / number <= limit_mib * MIB), num_heads)
