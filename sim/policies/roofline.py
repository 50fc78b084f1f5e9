"""MoE-Lightning's hierarchical roofline (arXiv 2411.11217): how long a pipelined layer takes, in
closed form.

Some bytes of an operation x on device i come from a memory j behind a link. The operation runs at
min(P_i, B_i · I_x^i, B_ji · I_x^j). P is the peak in FLOP/s, B in bytes/s, I the FLOPs per byte of
that memory. A layer takes as long as the longest of its lanes.

Two terms are added to the paper's. One is the time of launches and calls. The other is the least
that n micro-batches in turn take: an nth of the sum of GPU and CPU. GPU and CPU hide behind each
other only so far.
"""

from dataclasses import dataclass
from math import ceil, inf

from hwprofiles.units import NS_PER_S
from sim.costs.roofline import FLOPS_PER_WEIGHT, compute_type
from sim.model.model import AttentionCache, Layer, TensorClass
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A device with its memory: peak FLOP/s and bytes/s."""

    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pass of all sequences in micro-batches: their prompts, or a decode step. A query looks
    back at ``context_tokens`` tokens on average.

    ``micro_batch`` is a number of sequences. ``kv_on_gpu``: attention runs on the GPU. In a prompt
    it always runs there; without ``kv_on_gpu`` the prompt's cache is then copied to host memory.
    ``experts_held`` is the mean number of resident experts of an MoE layer.
    """

    sequences: int
    tokens_per_sequence: int
    context_tokens: float
    micro_batch: int
    is_prefill: bool
    kv_on_gpu: bool
    ffn_on_gpu: bool
    experts_held: float


def attainable_flops_per_s(
    flops: float,
    level: Level,
    local_bytes: float,
    link_bytes_per_s: float = inf,
    moved_bytes: float = 0.0,
) -> float:
    """Return min(P_i, B_i · I_i, B_ji · I_j) in FLOP/s for an operation of ``flops`` FLOPs.

    ``local_bytes`` come from the device's own memory, ``moved_bytes`` over the link. A term without
    bytes is left out.
    """
    bound = (
        min(level.flops_per_s, level.bytes_per_s * flops / local_bytes)
        if local_bytes
        else level.flops_per_s
    )
    return min(bound, link_bytes_per_s * flops / moved_bytes) if moved_bytes else bound


def layer_seconds(problem: Problem, layer: int, stage: Stage) -> float:
    """Return the seconds of one layer over all micro-batches: the longest of link, CPU and GPU."""
    spec = problem.model.layers[layer]
    number = ceil(stage.sequences / stage.micro_batch)
    link = problem.machine.link.h2d
    back = problem.machine.link.d2h
    # A dense layer has no experts that could be elsewhere.
    held = stage.experts_held / spec.num_experts if spec.is_moe else 1.0
    on_gpu = 1.0 if stage.ffn_on_gpu else held
    gpu = _gpu_seconds(problem, spec, stage, number, on_gpu, moved_bytes=0.0)
    moved = _moved_bytes(problem, spec, stage, held)
    fed = _gpu_seconds(problem, spec, stage, number, on_gpu, moved_bytes=moved)
    fed = max(
        fed, moved / link.bytes_per_s.effective + 2 * number * link.latency_ns.effective / NS_PER_S
    )
    cpu = _cpu_seconds(problem, spec, stage, number, 1.0 - on_gpu)
    written = _kv_bytes(problem, spec, stage) if stage.is_prefill and not stage.kv_on_gpu else 0.0
    # A single micro-batch waits for the CPU and then for the GPU; of n, one can run on each.
    return max(fed, cpu, (gpu + cpu) / number, written / back.bytes_per_s.effective)


def _gpu_seconds(
    problem: Problem, spec: Layer, stage: Stage, number: int, on_gpu: float, moved_bytes: float
) -> float:
    """Return the seconds of all the GPU's work of a layer, launches included.

    ``on_gpu`` is the share of the layer's experts that run there; ``moved_bytes`` come over the
    link.
    """
    tokens = stage.sequences * stage.tokens_per_sequence
    params = spec.dense_params + spec.top_k * spec.params.get(TensorClass.EXPERT, 0) * on_gpu
    # Each micro-batch reads the weights anew.
    touched = _touched(spec, stage) * on_gpu
    flops = FLOPS_PER_WEIGHT * tokens * params
    num_bytes = number * (spec.dense_bytes + touched * spec.expert_bytes)
    if stage.kv_on_gpu or stage.is_prefill:
        flops += _pair_flops(spec, stage)
        num_bytes += _kv_bytes(problem, spec, stage)
    level = _level(problem, "gpu")
    rate = attainable_flops_per_s(
        flops, level, num_bytes, problem.machine.link.h2d.bytes_per_s.effective, moved_bytes
    )
    kernels = problem.costs.num_kernels
    calls = 1.0 if problem.overlap.groups_experts else touched
    launches = (
        kernels("attention") * spec.has_mixer
        + kernels("gate")
        + kernels("shared_expert")
        + calls * kernels("expert")
    )
    return max(
        flops / rate if rate else 0.0,
        number * launches * problem.machine.gpu.launch_overhead_ns.effective / NS_PER_S,
    )


def _cpu_seconds(problem: Problem, spec: Layer, stage: Stage, number: int, share: float) -> float:
    """Return the seconds of the CPU's work of a layer: attention over a KV cache in host memory,
    and that share of the experts.
    """
    level = _level(problem, "cpu")
    calls = 0.0
    seconds = 0.0
    if not (stage.kv_on_gpu or stage.is_prefill or spec.attention is None):
        flops = _pair_flops(spec, stage)
        calls = float(number)
        seconds += flops / attainable_flops_per_s(flops, level, _kv_bytes(problem, spec, stage))
    if share > 0 and spec.is_moe:
        tokens = stage.sequences * stage.tokens_per_sequence
        flops = FLOPS_PER_WEIGHT * tokens * spec.top_k * spec.params[TensorClass.EXPERT] * share
        touched = _touched(spec, stage) * share
        seconds += flops / attainable_flops_per_s(
            flops, level, number * touched * spec.expert_bytes
        )
        calls += number * touched
    return seconds + calls * problem.machine.cpu.call_overhead_ns.effective / NS_PER_S


def _moved_bytes(problem: Problem, spec: Layer, stage: Stage, held: float) -> float:
    """Return the bytes copied to the GPU: pages, and the results of attention or of experts on the
    CPU.
    """
    tokens = stage.sequences * stage.tokens_per_sequence
    element = problem.model.activation_bytes
    pages = (1.0 - held) * spec.num_experts * spec.expert_bytes if stage.ffn_on_gpu else 0.0
    attended = 0 if spec.attention is None else spec.attention.value_elements
    sums = 0 if stage.kv_on_gpu or stage.is_prefill else tokens * attended * element
    return pages + sums + (0 if stage.ffn_on_gpu else tokens * problem.model.hidden * element)


def _touched(spec: Layer, stage: Stage) -> float:
    """Return how many experts a micro-batch selects on average, if all are equally popular."""
    if not spec.is_moe:
        return 0.0
    tokens = min(stage.micro_batch, stage.sequences) * stage.tokens_per_sequence
    return float(spec.num_experts * (1.0 - (1.0 - spec.top_k / spec.num_experts) ** tokens))


def _pair_flops(spec: Layer, stage: Stage) -> float:
    """Return the FLOPs of scores and weighted sums for all tokens. Each token looks at what the
    caches keep of ``context_tokens`` tokens.
    """
    tokens = stage.sequences * stage.tokens_per_sequence
    return (
        FLOPS_PER_WEIGHT
        * tokens
        * sum(_seen(cache, stage) * cache.pair_elements for cache in spec.caches)
    )


def _kv_bytes(problem: Problem, spec: Layer, stage: Stage) -> float:
    """Return the bytes of a layer's KV cache for all sequences: what a prompt leaves, or a decode
    step reads.
    """
    elements = sum(_entries(cache, stage) * cache.elements for cache in spec.caches)
    return stage.sequences * elements * problem.model.kv_element_bytes


def _seen(cache: AttentionCache, stage: Stage) -> float:
    """Return the number of a cache's entries that a query looks at."""
    limit = cache.looks_at_tokens
    tokens = stage.context_tokens if limit is None else min(stage.context_tokens, limit)
    return tokens / cache.tokens_per_entry


def _entries(cache: AttentionCache, stage: Stage) -> float:
    return (
        stage.tokens_per_sequence / cache.tokens_per_entry
        if stage.is_prefill
        else _seen(cache, stage)
    )


def _level(problem: Problem, device: str) -> Level:
    part = problem.machine.gpu if device == "gpu" else problem.machine.cpu
    rate = part.flops_per_s[compute_type(part.flops_per_s, problem.model.dtype(TensorClass.EXPERT))]
    return Level(flops_per_s=rate.effective, bytes_per_s=part.memory_bytes_per_s.effective)
