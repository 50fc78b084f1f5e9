"""Policies that the planner tries: combinations of parts that go together, and named systems."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from sim.costs.memory import Infeasible, machine_bytes
from sim.model.model import layer_shapes
from sim.policies import POLICIES, Policy
from sim.policies.cache.base import Cache
from sim.policies.cache.lfu import LfuCache
from sim.policies.cache.lru import LruCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.policies.cache.static import StaticCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.overlap import Overlap
from sim.policies.pipeline_search import PipelineChoice, choices, with_choice
from sim.policies.placement.base import Placement
from sim.policies.placement.gain import GainPlacement
from sim.policies.placement.layer_times import Misses
from sim.policies.placement.layers import AllLayersPlacement, LastLayersPlacement, NoLayersPlacement
from sim.policies.placement.paged import PagedPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.early import EarlyPrefetch
from sim.policies.prefetch.gain import GainPrefetch
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.policies.prefetch.none import NoPrefetch
from sim.policies.problem import Problem
from sim.step.lowering.early import lead_ns
from sim.step.simulate import Question, problem_of
from sim.workload.batch import Feeding, forward_passes, micro_batches

SOURCE = "combination of parts tried by the planner"
BY_GAIN = "experts where they save most time"

SPLIT = SpillDispatch(takes_residents=False)
"""Splits misses alone: no runtime lets the CPU run experts that the GPU holds."""

DISPATCHES: Mapping[str, tuple[str, Dispatch, Misses]] = MappingProxyType(
    {
        "cpu": ("every miss is computed by the CPU", CpuDispatch(), "cpu"),
        "fetch": ("every miss is copied to the GPU", FetchDispatch(), "fetch"),
        "cheapest": (
            "each miss on the CPU or copied, whichever is cheaper by itself",
            CheapestDispatch(believed_cost="priced"),
            "cheapest",
        ),
        "balanced": (
            "misses split between CPU and link so that both end together",
            BalancedDispatch(),
            "balanced",
        ),
        "split": ("misses split over CPU and link so that the layer ends first", SPLIT, "balanced"),
        "timed": ("the same, and placed by timing such splits", SPLIT, "split"),
    }
)
"""What may happen to a missing expert, simplest first: in words, as a dispatch, and as placements
foresee it.
"""

CACHES: Mapping[str, tuple[str, Cache]] = MappingProxyType(
    {
        "lru": (
            "what is copied takes the place of the least recently used of its layer",
            LruCache(),
        ),
        "lfu": ("what is copied takes the place of the least often used of its layer", LfuCache()),
        "smoothed": (
            "what is copied takes the place of what gates have favoured least of late",
            SmoothedGateCache(),
        ),
    }
)
PREFETCHES: Mapping[str, tuple[str, Prefetch]] = MappingProxyType(
    {
        "next": (
            "the next layer's experts are fetched as its gate names them early",
            NextGatePrefetch(accuracy_source="routing"),
        ),
        "gain": ("predicted experts are fetched where that saves most", GainPrefetch()),
    }
)
STAGINGS = (1, 2, 4, 8)
"""Numbers of buffers that copies of single experts go through."""
EARLY_STAGINGS = (2, 4, 8, 16)
"""Numbers of buffers where copies for the prompt begin ahead of their gates, and wait in the
buffers.
"""
EARLY_LEAD, EARLY_SHARE = 0.05, 0.1
"""The least attention for which copies ahead of their gates are tried.

A layer of the prompt attends for at least EARLY_LEAD of a copy's time, and the prompt for at least
EARLY_SHARE of all attention. With less, such copies save next to nothing.
"""
CHUNKS = (512, 2048)
"""Tokens of one prefill pass, over all prompts: smaller passes need less memory for activations."""


LONG_KV_SHARE = 0.01
"""The share of GPU memory from which a KV cache is also tried in host memory."""
PAGED_EACH = 2
"""Sizes of micro-batches that are tried for each place of KV cache and missing experts: the best by
the roofline.
"""


def candidates(question: Question) -> Iterator[Policy]:
    """Yield every combination that is tried for a question, the simplest first.

    Names say the parts, and summaries say them in words. Where the prompts are longer than a chunk,
    each combination is also tried with chunked prefill. Micro-batches, and a KV cache in host
    memory, are tried where there is more than one sequence or a long context.
    """
    batch = question.batch
    chunks = [chunk for chunk in CHUNKS if batch.prompt_tokens * batch.batch_size > chunk]
    feedings = [
        (Feeding(), ""),
        *((Feeding(prefill_chunk_tokens=chunk), f"@{chunk}") for chunk in chunks),
    ]
    for feeding, mark in feedings:
        yield from _fixed(feeding, mark)
    for feeding, mark in feedings:
        yield from _early(question, feeding, mark)
    for make in (_streamed, _cached):
        for feeding, mark in feedings:
            yield from make(feeding, mark)
    yield from _paged(question)


def named_systems() -> Iterator[Policy]:
    """The rows of the policy table: the rivals of every plan."""
    yield from POLICIES.values()


LAUNCHED = Overlap(groups_experts=True)
CAPTURED = Overlap(groups_experts=True, captures_graphs=True)
"""How runtimes of today run kernels: fused, and as a captured graph where no copy depends on a
gate.
"""

FIXED = ("cpu", "fetch", "cheapest", "split", "timed")
"""The dispatches for experts that stay where they are."""


def _fixed(feeding: Feeding, mark: str) -> Iterator[Policy]:
    """Yield combinations with residents that stay where they are."""
    everything = AllLayersPlacement()
    yield _combination(
        f"all-on-gpu{mark}",
        "the whole model on the GPU",
        everything,
        FetchDispatch(),
        CAPTURED,
        feeding,
    )
    for name in FIXED:
        fate, dispatch, misses = DISPATCHES[name]
        # Where no miss is copied, buffers would only take room.
        for staging in STAGINGS if name != "cpu" else (0,):
            label = f"gain+{name}/{staging}" if staging else f"gain+{name}"
            summary = f"{BY_GAIN}; {fate}; {_buffers(staging)}"
            # A graph is captured before it runs, so it has no place for copies that a gate decides
            # on.
            overlap = replace(CAPTURED if name == "cpu" else LAUNCHED, staging_experts=staging)
            yield _combination(
                f"{label}{mark}", summary, GainPlacement(misses=misses), dispatch, overlap, feeding
            )


def _early(question: Question, feeding: Feeding, mark: str) -> Iterator[Policy]:
    """Yield combinations with residents that stay, and with other experts copied early for the
    prompt.

    The early copies are on their way while the experts' layer attends.
    """
    for name in ("split", "timed"):
        fate, dispatch, misses = DISPATCHES[name]
        for staging in EARLY_STAGINGS:
            summary = f"{BY_GAIN}; of the others the prompt fetches some while their layer attends; {fate}; {_buffers(staging)}"
            placement = GainPlacement(misses=misses)
            overlap = replace(LAUNCHED, staging_experts=staging)
            label = f"gain+{name}+early/{staging}{mark}"
            policy = replace(
                _combination(label, summary, placement, dispatch, overlap, feeding),
                prefetch=EarlyPrefetch(),
            )
            if (
                # Asked once, of the first: the answer is alike for all.
                staging == EARLY_STAGINGS[0]
                and name == "split"
                and not _may_gain_early(problem_of(question.under(policy)))
            ):
                return
            yield policy


def _may_gain_early(problem: Problem) -> bool:
    """Whether the prompt attends for long enough, and the GPU has no room for the whole model."""
    if not problem.model.moe_layers:
        return False
    passes = forward_passes(problem.batch, problem.feeding)
    # Layers with experts resemble each other, so the first stands for all.
    layer = problem.model.moe_layers[0]
    lead = lead_ns(problem, passes)[:, layer_shapes(problem.model)[1][layer]]
    in_prompt = lead[passes.is_prefill]
    copy_ns = int(
        problem.costs.copy(
            "h2d", problem.model.layers[layer].expert_bytes, is_pinned=problem.overlap.is_pinned
        ).ns
    )
    if in_prompt.max() < EARLY_LEAD * copy_ns or in_prompt.sum() < EARLY_SHARE * lead.sum():
        return False
    # Where everything fits there is nothing to copy.
    return isinstance(AllLayersPlacement().place(problem), Infeasible)


def _cached(feeding: Feeding, mark: str) -> Iterator[Policy]:
    """Yield combinations with a cache, whose experts come and go."""
    for cache_name, (keeping, cache) in CACHES.items():
        for name in ("split", "balanced", "fetch"):
            fate, dispatch, _ = DISPATCHES[name]
            start = f"as many experts of every layer; {fate}; {keeping}"
            overlap = replace(LAUNCHED, staging_experts=2)
            caching = _combination(
                f"{cache_name}+{name}{mark}", start, UniformPlacement(), dispatch, overlap, feeding
            )
            caching = replace(caching, cache=cache)
            yield caching
            for prefetch_name, (ahead, prefetch) in (
                PREFETCHES.items() if name != "balanced" else ()
            ):
                yield replace(
                    caching,
                    name=f"{cache_name}+{name}+{prefetch_name}{mark}",
                    summary=f"{start}; {ahead}",
                    prefetch=prefetch,
                )


def _streamed(feeding: Feeding, mark: str) -> Iterator[Policy]:
    """Yield combinations with some whole layers on the GPU, or none.

    Other layers, with their KV cache, are in host memory. The CPU runs them, or they are copied
    whole.
    """
    buffers = ((2, 1.0, "2 layer buffers"), (1, 1 / 3, "a buffer for one of a layer's matrices"))
    for staging, share, words in buffers:
        overlap = replace(
            CAPTURED, staging_experts=0, staging_layers=staging, staging_layer_share=share
        )
        for least in (32, 512):
            summary = f"the last layers on the GPU; the others on the CPU, or copied whole for passes of {least} tokens and more; {words}"
            label = f"layers+stream{least}/{staging if share == 1 else 'part'}{mark}"
            yield _combination(
                label,
                summary,
                LastLayersPlacement(),
                LayerStreamingDispatch(min_tokens=least),
                overlap,
                feeding,
            )
    everything = LayerStreamingDispatch(min_tokens=0, streams_head=True)
    overlap = replace(CAPTURED, staging_experts=0, staging_layers=2)
    summary = "every layer is copied whole for every pass; 2 layer buffers"
    yield _combination(
        f"stream-all{mark}", summary, NoLayersPlacement(), everything, overlap, feeding
    )


def _paged(question: Question) -> Iterator[Policy]:
    """Yield combinations with layers pipelined over micro-batches, the KV cache of some in host
    memory.

    MoE-Lightning's roofline picks the best of each kind.
    """
    row = POLICIES["moe-lightning"]
    problem = problem_of(question.under(row))
    placement = PagedPlacement()
    if not is_long(problem):
        # One short sequence cannot be cut into micro-batches, and its KV cache fits anywhere.
        if question.batch.num_sequences == 1:
            return
        # A short KV cache fits the GPU, so only sequences are split.
        placement = PagedPlacement(kv_layers=problem.model.num_layers)
    found: dict[tuple[bool, int], list[PipelineChoice]] = {}
    for choice in choices(replace(row, placement=placement), problem):
        found.setdefault((choice.ffn_on_gpu, choice.kv_layers), []).append(choice)
    for (ffn_on_gpu, kv_layers), same in found.items():
        # What fits comes first, then what the roofline finds faster.
        for choice in sorted(same, key=lambda choice: (choice.missing_bytes, choice.seconds))[
            :PAGED_EACH
        ]:
            prompts, sequences = micro_batches(question.batch, choice.feeding)
            fate = "those missing are paged in" if ffn_on_gpu else "the CPU computes those missing"
            away = problem.model.num_layers - kv_layers
            cache = (
                f"; the KV cache of {away} layers in host memory, where the CPU attends"
                if away
                else ""
            )
            summary = f"as many experts of every layer; {fate}{cache}; micro-batches of {prompts} prompts, answers of {sequences}"
            name = f"paged+{'fetch' if ffn_on_gpu else 'cpu'}/{prompts}x{sequences}" + (
                f"/kv{kv_layers}" if away else ""
            )
            parts = with_choice(row, choice)
            yield replace(parts, name=name, summary=summary, source=SOURCE)


def is_long(problem: Problem) -> bool:
    """Whether the KV cache takes at least LONG_KV_SHARE of the card's memory."""
    batch = problem.batch
    model = problem.model
    kv_bytes = batch.num_sequences * sum(
        model.layer_kv_bytes(layer, batch.context_tokens) for layer in range(model.num_layers)
    )
    return kv_bytes >= LONG_KV_SHARE * machine_bytes(problem.machine)


def _buffers(staging: int) -> str:
    if not staging:
        return "no weight moves"
    return "1 staging buffer" if staging == 1 else f"{staging} staging buffers"


def _combination(
    name: str,
    summary: str,
    placement: Placement,
    dispatch: Dispatch,
    overlap: Overlap,
    feeding: Feeding,
) -> Policy:
    """A policy that caches and prefetches nothing."""
    if feeding.prefill_chunk_tokens is not None:
        summary = f"{summary}; prompts in passes of at most {feeding.prefill_chunk_tokens} tokens"
    return Policy(
        name=name,
        summary=summary,
        source=SOURCE,
        placement=placement,
        cache=StaticCache(),
        prefetch=NoPrefetch(),
        dispatch=dispatch,
        overlap=overlap,
        feeding=feeding,
    )
