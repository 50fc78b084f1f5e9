"""The named systems, one row each."""

from collections.abc import Mapping
from dataclasses import replace

from hwprofiles import InputError, unknown_name
from sim.costs.memory import MemoryRule
from sim.policies.cache.belady import BeladyCache
from sim.policies.cache.forecast_depth import ForecastDepthCache
from sim.policies.cache.forecast_visits import ForecastVisitsCache
from sim.policies.cache.lfu import LfuCache
from sim.policies.cache.lru import LruCache
from sim.policies.cache.random import RandomCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.policies.cache.swaps import SwapsCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.foretold import ForetoldDispatch
from sim.policies.dispatch.paged import PagedDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.imported import imported
from sim.policies.overlap import Overlap
from sim.policies.pipeline_search import PipelineTuning
from sim.policies.placement.by_accuracy import ByAccuracyPlacement
from sim.policies.placement.common import CommonSlotsPlacement
from sim.policies.placement.even import EvenPlacement
from sim.policies.placement.front_loading import FrontLoadingPlacement
from sim.policies.placement.layers import AllLayersPlacement, LastLayersPlacement, NoLayersPlacement
from sim.policies.placement.paged import PagedPlacement
from sim.policies.placement.popularity import PopularityPlacement
from sim.policies.placement.prompt import PromptPlacement
from sim.policies.placement.random import RandomPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.policy import Policy
from sim.policies.prefetch.expert_maps import ExpertMapPrefetch
from sim.policies.prefetch.gain import GainPrefetch
from sim.policies.prefetch.learned import LearnedPrefetch
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.policies.prefetch.request_counts import RequestCountsPrefetch
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
"""Memory of systems on eager transformers, or DeepSpeed, that Fiddler measured. They fill the same
share of the card, with KV cache and activations within it.
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
_LRU = Policy(
    name="lru",
    summary="as many experts of every layer on the GPU; a miss is copied there in place of the least recently selected",
    source="the common cache of the expert-offloading papers; starts with the most popular experts; fused kernels, each launched",
    placement=UniformPlacement(),
    cache=LruCache(),
    dispatch=FetchDispatch(),
    overlap=Overlap(groups_experts=True),
)

_ROWS = (
    # No expert moves ahead of its gate: Fiddler, its baselines, and KTransformers.
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
    # Experts on the CPU start in one layer and are joined in the next: KTransformers' deferral, DAOP.
    Policy(
        name="kt-deferral",
        summary="as ktransformers, but each layer's least weighted experts on the CPU are added one layer late, so attention need not wait",
        source=(
            "KTransformers (SOSP 2025), expert deferral; one expert a token, as its example of --kt-max-deferred-experts-per-token; as in "
            "kt-kernel the lowest of all selected are deferred if they lie on the CPU, and none in the last layer; in decode only: assumed"
        ),
        placement=UniformPlacement(),
        dispatch=CpuDispatch(),
        overlap=Overlap(staging_experts=0, deferred=1, groups_experts=True, captures_graphs=True),
        is_lossless=False,
    ),
    Policy(
        name="daop",
        summary="residents chosen anew for each prompt; from layer 5 on, experts on the CPU run ahead on a prediction, right or wrong",
        source=(
            "arXiv 2501.10375 (DATE 2025); constants and moments of its released code, github.com/ecolab-nus/DAOP; accuracy of the "
            "prediction from the routing; CPU and GPU experts of the first layers run at once, where the code runs them in turn"
        ),
        placement=UniformPlacement(),
        cache=SwapsCache(),
        dispatch=ForetoldDispatch(),
        overlap=Overlap(staging_experts=1),
        is_lossless=False,
    ),
    # Layers are pipelined over micro-batches.
    Policy(
        name="moe-lightning",
        summary="large batches in micro-batches: the CPU attends while the GPU computes experts and the next layer's weights are paged in",
        source=(
            "arXiv 2411.11217 (ASPLOS 2025): CGOPipe, and the policy search by the hierarchical roofline; activations go before pages "
            "once they are ready, where the paper fixes their order; attention where its KV cache lies, so no KV cache is copied to the GPU"
        ),
        placement=PagedPlacement(),
        dispatch=PagedDispatch(),
        overlap=Overlap(staging_experts=0, staging_layers=2),
        tuning=PipelineTuning(),
    ),
    # Experts come and go: caches, prefetchers, and the bounds of both.
    _LRU,
    replace(
        _LRU,
        name="lfu",
        summary="as many experts of every layer on the GPU; a miss is copied there in place of the least often selected",
        source="least frequently used, as compared in the expert-offloading papers; starts with the most popular experts",
        cache=LfuCache(),
    ),
    replace(
        _LRU,
        name="random",
        summary="as many experts of every layer on the GPU; a miss is copied there in place of any: what a cache should at least beat",
        source="random replacement; starts with the most popular experts",
        cache=RandomCache(),
    ),
    replace(
        _LRU,
        name="belady",
        summary="a bound, not a system: the cache that knows the future; no cache of as many slots a layer hits more without prefetching",
        source="Belady 1966 (offline optimum of replacement), with the option not to keep what was fetched",
        cache=BeladyCache(),
    ),
    Policy(
        name="mixtral-next-gate",
        summary="mixtral-offloading with its paper's speculative loading: the next layer's gate on this layer's hidden state",
        source=(
            "arXiv 2312.17238; accuracy of the next gate from AdapMoE (arXiv 2408.10284); speculated experts take slots of the cache, "
            "not a buffer of their own, and write nothing back"
        ),
        placement=UniformPlacement(),
        cache=LruCache(writes_back=True),
        prefetch=NextGatePrefetch(accuracy_source="mixtral", by_token=True),
        dispatch=FetchDispatch(),
        overlap=Overlap(prefill="serial", decode="serial", staging_experts=4),
    ),
    Policy(
        name="moe-infinity",
        summary="matches the request so far with past ones, fetches all that those used in the layers to come; one budget over all layers",
        source=(
            "arXiv 2401.14361: count matrices, row-normalised cosine, priority by distance, synchronous lookup, eviction by predicted "
            "share and depth; the lookup for a layer follows the gate of the one before, and the cache starts with the most popular experts"
        ),
        placement=CommonSlotsPlacement(),
        cache=ForecastDepthCache(),
        prefetch=RequestCountsPrefetch(),
        dispatch=FetchDispatch(),
    ),
    replace(
        _LRU,
        name="promoe",
        summary="a learned predictor looks a stride ahead; copies in three pieces, which a miss overtakes; least recently used leaves",
        source="arXiv 2410.22134; the predictor is its stated accuracy (84.7 %), not a network; cached experts run first, as in every row",
        prefetch=LearnedPrefetch(by_token=True),
        overlap=Overlap(),
    ),
    Policy(
        name="fmoe",
        summary="searches a store of past expert maps as the gates become known and fetches what they name; one budget over all layers",
        source=(
            "arXiv 2502.05370 (FineMoE, EuroSys 2026), as the paper has it, not its demo; semantic search by the request's mean map where "
            "the routing gives no embeddings; the cache starts with the most popular experts"
        ),
        placement=CommonSlotsPlacement(),
        cache=ForecastVisitsCache(),
        prefetch=ExpertMapPrefetch(),
        dispatch=FetchDispatch(),
    ),
    Policy(
        name="adapmoe",
        summary="more slots for layers that are hard to predict; fetches what the next layer's gate names on this layer's hidden state",
        source=(
            "arXiv 2408.10284: split of the slots and accuracies of the next gate, those of Mixtral by depth; without its adaptive gating, "
            "which skips experts and so changes tokens; its hit model is popularity, its cache least recently used"
        ),
        placement=ByAccuracyPlacement(),
        cache=LruCache(),
        prefetch=NextGatePrefetch(accuracy_source="mixtral", by_token=True),
        dispatch=FetchDispatch(),
    ),
    Policy(
        name="hybrimoe",
        summary="a cache by smoothed gate scores; experts split over CPU, link and GPU; fetches ahead what ends layers sooner",
        source=(
            "arXiv 2504.05897; alpha 0.5, copies matrix by matrix and residents that spill to the CPU from its released code; experts of a "
            "lane run by number, not by tokens; what is fetched ahead takes slots of the cache"
        ),
        placement=UniformPlacement(),
        cache=SmoothedGateCache(),
        prefetch=GainPrefetch(num_chunks=3),
        dispatch=SpillDispatch(),
    ),
    replace(
        _LRU,
        name="pre-gated",
        summary="every gate selects the experts of the next layer, which are copied meanwhile; needs a retrained model",
        source=(
            "arXiv 2308.12066; selection one block ahead is exact because the model is retrained for it, so its tokens are not those of "
            "the original; experts stay in a least-recently-used cache as far as memory goes"
        ),
        prefetch=NextGatePrefetch(accuracy=1.0),
        overlap=Overlap(),
        is_lossless=False,
    ),
)
POLICIES: Mapping[str, Policy] = {policy.name: policy for policy in _ROWS}
"""The table, by name."""


def find_policy(name: str) -> Policy:
    """The row of that name, or a policy of your own as ``package.module:NAME``.

    Raises InputError, with the nearest name, for an unknown one.
    """
    # A name of the table has no colon.
    if ":" in name:
        found = imported(name, "policy")
        if not isinstance(found, Policy):
            raise InputError(
                f"policy {name}: of type {type(found).__name__}, not sim.policies.Policy"
            )
        return found
    if name not in POLICIES:
        raise unknown_name("policy", name, POLICIES)
    return POLICIES[name]
