"""Named systems whose experts come and go: caches, prefetchers, and the bounds of both."""

from dataclasses import replace

from sim.policies.cache.belady import BeladyCache
from sim.policies.cache.forecast_depth import ForecastDepthCache
from sim.policies.cache.forecast_visits import ForecastVisitsCache
from sim.policies.cache.lfu import LfuCache
from sim.policies.cache.lru import LruCache
from sim.policies.cache.random import RandomCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.policies.dispatch.constant import FetchDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.by_accuracy import ByAccuracyPlacement
from sim.policies.placement.common import CommonSlotsPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.policy import Policy
from sim.policies.prefetch.expert_maps import ExpertMapPrefetch
from sim.policies.prefetch.gain import GainPrefetch
from sim.policies.prefetch.learned import LearnedPrefetch
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.policies.prefetch.request_counts import RequestCountsPrefetch

_LRU = Policy(
    name="lru",
    summary="as many experts of every layer on the GPU; a miss is copied there in place of the least recently selected",
    source="the common cache of the expert-offloading papers; starts with the most popular experts; fused kernels, each launched",
    placement=UniformPlacement(),
    cache=LruCache(),
    dispatch=FetchDispatch(),
    overlap=Overlap(groups_experts=True),
)

CACHING_ROWS: tuple[Policy, ...] = (
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
