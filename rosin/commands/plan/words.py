"""A plan in words: what each part of its policy does, for a reader who does not know policies."""

import inspect
from collections.abc import Iterator, Mapping
from itertools import groupby

from hwprofiles.units import format_bytes
from sim.policies.cache.lru import LruCache
from sim.policies.cache.static import StaticCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.paged import PagedDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.dispatch.three_lanes import ThreeLanesDispatch
from sim.policies.overlap import Overlap
from sim.policies.policy import Policy
from sim.policies.prefetch.early import EarlyPrefetch
from sim.policies.prefetch.none import NoPrefetch
from sim.step.simulate import Run

OBJECTIVE_WORDS: Mapping[str, str] = {
    "throughput": "the most output tokens per second",
    "latency": "the shortest whole run",
    "ttft": "the shortest time to the first token",
    "tpot": "the shortest time for each further token",
    "cost": "the least price of an output token",
}
PART_WORDS: Mapping[type, str] = {
    StaticCache: "the same experts all the time; none leaves the GPU",
    LruCache: "an expert that comes takes the place of its layer's least recently used",
    EarlyPrefetch: "for the prompt, experts that are all but sure to be needed, while their layer attends",
    NoPrefetch: "nothing is copied before it is known to be needed",
    ThreeLanesDispatch: "misses of a layer are shared out over CPU and link, beside what the GPU has to do, so that all end together",
    SpillDispatch: "misses of a layer are shared out over CPU and link, beside what the GPU has to do, so that the layer ends first",
    BalancedDispatch: "misses of a layer are shared out so that CPU and link end together",
    CheapestDispatch: "each miss is computed by the CPU or copied, whichever is cheaper",
    CpuDispatch: "every miss is computed by the CPU; no weight moves",
    FetchDispatch: "every miss is copied to the GPU and computed there",
    PagedDispatch: "its weights come page by page while the layer before runs, whether it is selected or not",
    LayerStreamingDispatch: "a layer that is elsewhere is copied whole where the pass has tokens enough, else computed by the CPU",
}


def plan_words(run: Run) -> Iterator[tuple[str, str]]:
    """Yield (topic, sentence) about what the plan does, the most important first."""
    policy = run.scenario.policy
    yield "start", _start(run)
    yield "later", _part_words(policy.cache)
    # Where the GPU holds every expert, nothing is ever missing or copied.
    if not _has_all_experts(run):
        yield "missing expert", _miss_words(policy)
        yield "ahead of need", _part_words(policy.prefetch)
        yield "copies go through", _buffers(policy)
    if isinstance(policy.dispatch, SpillDispatch) and (idle := _spilled_words(run)):
        yield "idle CPU", idle
    yield "at once", _overlap_words(policy)
    yield "prompt", _prompt_words(policy)


def layer_counts(run: Run) -> list[tuple[str, int]]:
    """Return the experts on the GPU at the start as (layers, number in each of the layers).

    Neighbouring layers with equal numbers are one entry. Only MoE layers are counted.
    """
    held = run.residency.experts.sum(axis=1)
    counts = [(layer, int(held[layer])) for layer in run.scenario.model.moe_layers]
    return [(_span([layer for layer, _ in group]), count) for count, group in _groups(counts)]


def _groups(counts: list[tuple[int, int]]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    for count, group in groupby(counts, key=lambda pair: pair[1]):
        yield count, list(group)


def _span(layers: list[int]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}–{layers[-1]}"


def _start(run: Run) -> str:
    model = run.scenario.model
    held = run.residency.experts.sum(axis=1)[list(run.scenario.model.moe_layers)]
    low = int(held.min())
    high = int(held.max())
    each = (
        f"{low} of {model.num_experts} in every layer"
        if low == high
        else f"{low}–{high} of {model.num_experts} in a layer"
    )
    words = f"{held.sum():,} of {len(held) * model.num_experts:,} experts on the GPU, {each}, {format_bytes(model.expert_bytes)} each"
    if run.residency.dense.all() and run.residency.has_head:
        away = 0 if run.residency.kv is None else int((~run.residency.kv).sum())
        cache = (
            f"; the KV cache of {away} layers in host memory, where the CPU attends" if away else ""
        )
        return f"{words}; all else of the model too{cache}"
    return f"{words}; of {model.num_layers} layers the rest (attention, routers) is there for {int(run.residency.dense.sum())}"


def _has_all_experts(run: Run) -> bool:
    return (
        run.residency.num_experts
        == len(run.scenario.model.moe_layers) * run.scenario.model.num_experts
    )


def _miss_words(policy: Policy) -> str:
    # Without the feed-forward part on the GPU, its pages never come there.
    if isinstance(policy.dispatch, PagedDispatch) and policy.dispatch.ffn_on_gpu is False:
        return PART_WORDS[CpuDispatch]
    return _part_words(policy.dispatch)


def _spilled_words(run: Run) -> str:
    """Return how much of the work on the GPU's experts the CPU does, in words; empty if none."""
    spilled = run.decisions.spilled
    if spilled is None or not spilled.any():
        return ""
    calls = int((run.tokens > 0).sum())
    return f"computes experts that the GPU holds too, where the GPU would end last: {spilled.sum() / calls:.1%} of the runs of experts"


def _part_words(part: object) -> str:
    """Return the words for a part; for a user's own part, the first line of its docstring."""
    return (
        PART_WORDS.get(type(part)) or (inspect.getdoc(part) or type(part).__name__).splitlines()[0]
    )


def _count(size: int | None) -> str:
    return "all" if size is None else str(size)


def _buffers(policy: Policy) -> str:
    overlap = policy.overlap
    buffers = [
        f"{count} buffer{'s' if count > 1 else ''} of one {what}"
        for count, what in ((overlap.staging_experts, "expert"), (overlap.staging_layers, "layer"))
        if count
    ]
    memory = "page-locked" if overlap.is_pinned else "pageable"
    return f"{' and '.join(buffers)}, from {memory} host memory" if buffers else "no buffers"


def _overlap_words(policy: Policy) -> str:
    if not isinstance(policy.overlap, Overlap):
        return _part_words(policy.overlap)
    phases = {"prompt": policy.overlap.prefill, "answer": policy.overlap.decode}
    if len(set(phases.values())) == 1:
        return (
            "GPU, CPU and copies all work at the same time"
            if policy.overlap.prefill == "lanes"
            else "one thing at a time"
        )
    # False sorts before True, so the phase that works at once comes first.
    together, alone = sorted(phases, key=lambda phase: phases[phase] == "serial")
    return f"GPU, CPU and copies work at the same time for the {together}, one thing at a time for the {alone}"


def _prompt_words(policy: Policy) -> str:
    feeding = policy.feeding
    if feeding.is_pipelined:
        prompts = _count(feeding.prefill_micro_batch_sequences)
        answers = _count(feeding.micro_batch_sequences)
        return f"micro-batches of {prompts} prompts, answers of {answers}"
    size = feeding.prefill_chunk_tokens
    words = "in one pass" if size is None else f"in passes of at most {size} tokens"
    return f"{words}, once for every beam" if feeding.replicates_prompt else words
