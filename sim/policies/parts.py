"""The parts by name, in one dictionary a kind: the vocabulary of the policy table, of plan files
and of settings.
"""

from collections.abc import Mapping

from sim.policies.cache.base import Cache
from sim.policies.cache.belady import BeladyCache
from sim.policies.cache.forecast_depth import ForecastDepthCache
from sim.policies.cache.forecast_visits import ForecastVisitsCache
from sim.policies.cache.lfu import LfuCache
from sim.policies.cache.lru import LruCache
from sim.policies.cache.random import RandomCache
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.policies.cache.static import StaticCache
from sim.policies.cache.swaps import SwapsCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.foretold import ForetoldDispatch
from sim.policies.dispatch.paged import PagedDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.dispatch.three_lanes import ThreeLanesDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.base import Placement
from sim.policies.placement.by_accuracy import ByAccuracyPlacement
from sim.policies.placement.common import CommonSlotsPlacement
from sim.policies.placement.even import EvenPlacement
from sim.policies.placement.explicit import ExplicitPlacement
from sim.policies.placement.front_loading import FrontLoadingPlacement
from sim.policies.placement.gain import GainPlacement
from sim.policies.placement.layers import AllLayersPlacement, LastLayersPlacement, NoLayersPlacement
from sim.policies.placement.paged import PagedPlacement
from sim.policies.placement.popularity import PopularityPlacement
from sim.policies.placement.prompt import PromptPlacement
from sim.policies.placement.random import RandomPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.early import EarlyPrefetch
from sim.policies.prefetch.expert_maps import ExpertMapPrefetch
from sim.policies.prefetch.gain import GainPrefetch
from sim.policies.prefetch.learned import LearnedPrefetch
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.policies.prefetch.none import NoPrefetch
from sim.policies.prefetch.request_counts import RequestCountsPrefetch

PLACEMENTS: Mapping[str, type[Placement]] = {
    "all-layers": AllLayersPlacement,
    "by-accuracy": ByAccuracyPlacement,
    "common": CommonSlotsPlacement,
    "even": EvenPlacement,
    "explicit": ExplicitPlacement,
    "front": FrontLoadingPlacement,
    "gain": GainPlacement,
    "last-layers": LastLayersPlacement,
    "no-layers": NoLayersPlacement,
    "paged": PagedPlacement,
    "popularity": PopularityPlacement,
    "prompt": PromptPlacement,
    "random": RandomPlacement,
    "uniform": UniformPlacement,
}
CACHES: Mapping[str, type[Cache]] = {
    "belady": BeladyCache,
    "depth": ForecastDepthCache,
    "lfu": LfuCache,
    "lru": LruCache,
    "swaps": SwapsCache,
    "random": RandomCache,
    "scored": SmoothedGateCache,
    "static": StaticCache,
    "visits": ForecastVisitsCache,
}
PREFETCHES: Mapping[str, type[Prefetch]] = {
    "early": EarlyPrefetch,
    "gain": GainPrefetch,
    "learned": LearnedPrefetch,
    "maps": ExpertMapPrefetch,
    "next-gate": NextGatePrefetch,
    "none": NoPrefetch,
    "requests": RequestCountsPrefetch,
}
DISPATCHES: Mapping[str, type[Dispatch]] = {
    "balanced": BalancedDispatch,
    "cheapest": CheapestDispatch,
    "cpu": CpuDispatch,
    "fetch": FetchDispatch,
    "foretold": ForetoldDispatch,
    "paged": PagedDispatch,
    "spill": SpillDispatch,
    "stream-layers": LayerStreamingDispatch,
    "three-lanes": ThreeLanesDispatch,
}
OVERLAPS: Mapping[str, type[Overlap]] = {"lanes": Overlap}

PARTS: Mapping[str, Mapping[str, type]] = {
    "placement": PLACEMENTS,
    "cache": CACHES,
    "prefetch": PREFETCHES,
    "dispatch": DISPATCHES,
    "overlap": OVERLAPS,
}
"""Name to class, by kind of part."""


def part_name(kind: str, part: object) -> str:
    """Return the name of the part's class in PARTS, or ``module:class`` for a class that is not
    there.
    """
    for name, cls in PARTS[kind].items():
        if type(part) is cls:
            return name
    return f"{type(part).__module__}:{type(part).__name__}"
