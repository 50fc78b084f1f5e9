"""The parts by name, in one dictionary a kind: the vocabulary of the policy table, of plan files and of ``--set``."""

from collections.abc import Mapping

from sim.policies.base import Cache, Dispatch, Placement, Prefetch
from sim.policies.cache.lru import LruCache
from sim.policies.cache.static import StaticCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.overlap.lanes import LanesOverlap
from sim.policies.placement.explicit import ExplicitPlacement
from sim.policies.placement.gain import GainPlacement
from sim.policies.placement.layers import AllLayersPlacement, LastLayersPlacement, NoLayersPlacement
from sim.policies.placement.popularity import PopularityPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.prefetch.none import NoPrefetch
from sim.policies.problem import Overlap

PLACEMENTS: Mapping[str, type[Placement]] = {
    "all-layers": AllLayersPlacement,
    "explicit": ExplicitPlacement,
    "gain": GainPlacement,
    "last-layers": LastLayersPlacement,
    "no-layers": NoLayersPlacement,
    "popularity": PopularityPlacement,
    "uniform": UniformPlacement,
}
CACHES: Mapping[str, type[Cache]] = {"lru": LruCache, "static": StaticCache}
PREFETCHES: Mapping[str, type[Prefetch]] = {"none": NoPrefetch}
DISPATCHES: Mapping[str, type[Dispatch]] = {
    "balanced": BalancedDispatch,
    "cheapest": CheapestDispatch,
    "cpu": CpuDispatch,
    "fetch": FetchDispatch,
    "stream-layers": LayerStreamingDispatch,
}
OVERLAPS: Mapping[str, type[Overlap]] = {"lanes": LanesOverlap}

PARTS: Mapping[str, Mapping[str, type]] = {
    "placement": PLACEMENTS,
    "cache": CACHES,
    "prefetch": PREFETCHES,
    "dispatch": DISPATCHES,
    "overlap": OVERLAPS,
}
"""Name to class, by kind of part."""


def part_name(kind: str, part: object) -> str:
    """The name under which the part's class stands in PARTS; its dotted path for a third party's."""
    for name, cls in PARTS[kind].items():
        if type(part) is cls:
            return name
    return f"{type(part).__module__}:{type(part).__name__}"
