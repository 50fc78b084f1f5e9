"""The combinations that the planner tries: parts that fit together, named systems or not."""

from collections.abc import Iterator

from sim.policies import POLICIES, Policy
from sim.policies.base import Cache, Dispatch, Placement
from sim.policies.cache.lru import LruCache
from sim.policies.cache.static import StaticCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.overlap.lanes import LanesOverlap
from sim.policies.placement.gain import GainPlacement
from sim.policies.placement.layers import AllLayersPlacement, LastLayersPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.prefetch.none import NoPrefetch

SOURCE = "combination of parts tried by the planner"


def candidates() -> Iterator[Policy]:
    """Every combination tried, best ideas first; names say the parts."""
    yield _combination("all-on-gpu", AllLayersPlacement(), FetchDispatch(), staging=0)
    for staging in (1, 2):
        yield _combination(f"gain+balanced/{staging}", GainPlacement(misses="balanced"), BalancedDispatch(), staging=staging)
        yield _combination(f"gain+cheapest/{staging}", GainPlacement(), CheapestDispatch(believed_cost="priced"), staging=staging)
        yield _combination(f"gain+fetch/{staging}", GainPlacement(misses="fetch"), FetchDispatch(), staging=staging)
    yield _combination("gain+cpu", GainPlacement(misses="cpu"), CpuDispatch(), staging=0)
    yield _combination("lru+fetch", UniformPlacement(), FetchDispatch(), staging=1, cache=LruCache())
    yield _combination("layers+stream", LastLayersPlacement(), LayerStreamingDispatch(min_tokens=32), staging=0, staging_layers=2)


def named_systems() -> Iterator[Policy]:
    """The rows of the policy table: the rivals of every plan."""
    yield from POLICIES.values()


def _combination(
    name: str, placement: Placement, dispatch: Dispatch, *, staging: int, staging_layers: int = 0, cache: Cache | None = None
) -> Policy:
    return Policy(
        name=name,
        summary="tried by the planner",
        source=SOURCE,
        placement=placement,
        cache=cache or StaticCache(),
        prefetch=NoPrefetch(),
        dispatch=dispatch,
        overlap=LanesOverlap(staging_experts=staging, staging_layers=staging_layers),
    )
