"""Named systems that move no expert ahead of its gate:

Fiddler, its baselines, and KTransformers.
"""

from dataclasses import replace

from sim.costs.memory import MemoryRule
from sim.policies.cache.lru import LruCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.even import EvenPlacement
from sim.policies.placement.front_loading import FrontLoadingPlacement
from sim.policies.placement.layers import AllLayersPlacement, LastLayersPlacement, NoLayersPlacement
from sim.policies.placement.popularity import PopularityPlacement
from sim.policies.placement.prompt import PromptPlacement
from sim.policies.placement.random import RandomPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.policy import Policy
from sim.workload.batch import Feeding

_FIDDLER_MEMORY = MemoryRule(
    usable_fraction=0.95,  # of the released code: the rest is for context, KV cache and activations
    has_context_apart=False,
    budgets_kv=False,
    budgets_activations=False,
    counts_rotary_tables=True,
    is_eager=True,
)
_EAGER_MEMORY = MemoryRule(usable_fraction=0.95, has_context_apart=False, is_eager=True)
"""Systems on eager transformers, or DeepSpeed, that Fiddler measured: the same share of the card,
KV cache and activations within it.
"""
_CAPTURED = Overlap(groups_experts=True, captures_graphs=True, staging_experts=0)
"""Fused kernels in a captured graph, as SGLang runs KTransformers' models and as every serving
engine of today runs a whole model.
"""
_ONE_BUFFER_SERIAL = Overlap(prefill="serial", decode="serial", staging_experts=1, is_pinned=False)

_KTRANSFORMERS = Policy(
    name="ktransformers",
    summary="as many experts of every layer on the GPU, the rest computed by the CPU at the same time; no weight moves",
    source=(
        "KTransformers (SOSP 2025), uniform placement, by popularity within a layer; no deferral, no layer-wise GPU prefill; fused kernels "
        "in one captured graph, as the paper describes"
    ),
    placement=UniformPlacement(),
    dispatch=CpuDispatch(),
    overlap=_CAPTURED,
)

STATIC_ROWS: tuple[Policy, ...] = (
    Policy(
        name="fiddler",
        summary="popular experts stay on the GPU; a miss goes to the CPU or is copied, whichever is believed cheaper; no overlap",
        source="arXiv 2402.07033 (ICLR 2025), algorithm 1; memory rule and serial execution from github.com/efeslab/fiddler, branch main",
        placement=PopularityPlacement(memory=_FIDDLER_MEMORY),
        dispatch=CheapestDispatch(),
        overlap=_ONE_BUFFER_SERIAL,
        feeding=Feeding(replicates_prompt=True),
    ),
    Policy(
        name="fiddler-v1",
        summary="the first Fiddler: released constants, CPU and GPU experts split to end together and run at once during prefill",
        source="arXiv 2402.07033v1; the aim max(CPU, GPU) stands in the released code, which ran prefill CPU experts in a thread",
        placement=PopularityPlacement(memory=_FIDDLER_MEMORY),
        dispatch=BalancedDispatch(believed_cost="code"),
        overlap=Overlap(prefill="lanes", decode="serial", staging_experts=1, is_pinned=False),
        feeding=Feeding(replicates_prompt=True),
    ),
    Policy(
        name="zero-streaming",
        summary="every weight waits in host memory; each pass copies all layers to the GPU, whatever the router says",
        source="ZeRO-3 parameter offload as in DeepSpeed-MII 0.2.3, Fiddler's baseline",
        placement=NoLayersPlacement(memory=_EAGER_MEMORY),
        dispatch=LayerStreamingDispatch(min_tokens=0, streams_head=True),
        overlap=Overlap(staging_experts=0, staging_layers=2),
    ),
    Policy(
        name="mixtral-offloading",
        summary="a per-layer LRU of experts; a miss swaps with the expert that leaves, both ways, on the compute stream; no CPU experts",
        source="arXiv 2312.17238, four staging buffers; released code as Fiddler measured it (no speculative loading)",
        placement=UniformPlacement(memory=_EAGER_MEMORY),
        cache=LruCache(writes_back=True),
        dispatch=FetchDispatch(),
        overlap=Overlap(prefill="serial", decode="serial", staging_experts=4),
    ),
    Policy(
        name="llama.cpp",
        summary="the last layers on the GPU; the others on the CPU, or copied whole once per micro-batch of 512 from 32 tokens on",
        source=(
            "llama.cpp b2956, Fiddler's baseline: -ngl, 32-token threshold, 512-token micro-batches; weights copied operation by "
            "operation (one of a layer's three merged expert matrices at a time); -ngl is raised until memory is full"
        ),
        placement=LastLayersPlacement(),
        dispatch=LayerStreamingDispatch(min_tokens=32),
        overlap=Overlap(
            prefill="serial",
            decode="serial",
            staging_experts=0,
            staging_layers=1,
            staging_layer_share=1 / 3,
        ),
        feeding=Feeding(prefill_chunk_tokens=512, decodes_beams_apart=True),
    ),
    _KTRANSFORMERS,
    replace(
        _KTRANSFORMERS,
        name="kt-uniform",
        summary="ktransformers without knowing popularity: the lowest numbers of every layer on the GPU",
        source="KTransformers kt-kernel 0.7 (generate_uniform_masks of its SGLang fork): the first experts of every layer; no deferral",
        placement=EvenPlacement(),
    ),
    replace(
        _KTRANSFORMERS,
        name="kt-frequency",
        summary="the most popular experts of all layers on the GPU; the rest computed by the CPU at the same time",
        source="KTransformers (SOSP 2025), frequency placement, no deferral, no layer-wise GPU prefill",
        placement=PopularityPlacement(),
    ),
    replace(
        _KTRANSFORMERS,
        name="kt-front-loading",
        summary="the experts of the first layers on the GPU; the rest computed by the CPU at the same time",
        source="KTransformers (SOSP 2025), front-loading placement, no deferral, no layer-wise GPU prefill",
        placement=FrontLoadingPlacement(),
    ),
    replace(
        _KTRANSFORMERS,
        name="kt-random",
        summary="experts drawn at random on the GPU; the rest computed by the CPU at the same time",
        source="KTransformers (SOSP 2025), random placement, no deferral, no layer-wise GPU prefill",
        placement=RandomPlacement(),
    ),
    replace(
        _KTRANSFORMERS,
        name="kt-dynamic",
        summary="kt-frequency until a prompt of 512 tokens or more; then, in every layer, the experts that the prompt selected most",
        source=(
            "KTransformers kt-kernel 0.7, --kt-enable-dynamic-expert-update (select_top_experts_from_batch); the prompt's misses are "
            "fetched as it runs on the GPU, the copies of experts that it did not select but that fill a layer's number are not charged"
        ),
        placement=PromptPlacement(),
        overlap=replace(_CAPTURED, staging_experts=2),
    ),
    Policy(
        name="on-demand",
        summary="popular experts stay on the GPU; every miss is copied there when its gate selects it",
        source="the common baseline of the expert-offloading papers: static popularity, fetch on every miss",
        placement=PopularityPlacement(),
        dispatch=FetchDispatch(),
    ),
    Policy(
        name="all-on-gpu",
        summary="everything on the GPU, where it fits: the speed that offloading gives up",
        source="no offloading; fused kernels in a captured graph, as vLLM, SGLang and TensorRT-LLM run it",
        placement=AllLayersPlacement(),
        dispatch=FetchDispatch(),
        overlap=_CAPTURED,
    ),
)
