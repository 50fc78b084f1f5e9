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
BY_GAIN = "experts where they save most time"


def candidates() -> Iterator[Policy]:
    """Every combination tried, best ideas first; names say the parts, summaries say them in words."""
    yield _combination("all-on-gpu", "the whole model on the GPU", AllLayersPlacement(), FetchDispatch())
    for staging in (1, 2):
        buffers = "1 staging buffer" if staging == 1 else f"{staging} staging buffers"
        yield _combination(
            f"gain+balanced/{staging}",
            f"{BY_GAIN}; misses split between CPU and link so that both end together; {buffers}",
            GainPlacement(misses="balanced"),
            BalancedDispatch(),
            staging=staging,
        )
        yield _combination(
            f"gain+cheapest/{staging}",
            f"{BY_GAIN}; each miss on the CPU or copied, whichever is cheaper by itself; {buffers}",
            GainPlacement(),
            CheapestDispatch(believed_cost="priced"),
            staging=staging,
        )
        yield _combination(
            f"gain+fetch/{staging}",
            f"{BY_GAIN}; every miss is copied to the GPU; {buffers}",
            GainPlacement(misses="fetch"),
            FetchDispatch(),
            staging=staging,
        )
    yield _combination(
        "gain+cpu", f"{BY_GAIN}; every miss is computed by the CPU; no weight moves", GainPlacement(misses="cpu"), CpuDispatch()
    )
    dispatches: tuple[tuple[str, str, Dispatch], ...] = (
        ("fetch", "every miss is copied", FetchDispatch()),
        ("balanced", "misses split between CPU and link so that both end together", BalancedDispatch()),
        ("cheapest", "each miss on the CPU or copied, whichever is cheaper by itself", CheapestDispatch(believed_cost="priced")),
    )
    for name, fate, dispatch in dispatches:
        yield _combination(
            f"lru+{name}",
            f"as many experts of every layer; {fate}; what is copied takes the place of the least recently used of its layer",
            UniformPlacement(),
            dispatch,
            staging=1,
            cache=LruCache(),
        )
    yield _combination(
        "layers+stream",
        "the last layers on the GPU; the others on the CPU, or copied whole for passes of 32 tokens and more; 2 layer buffers",
        LastLayersPlacement(),
        LayerStreamingDispatch(min_tokens=32),
        staging_layers=2,
    )


def named_systems() -> Iterator[Policy]:
    """The rows of the policy table: the rivals of every plan."""
    yield from POLICIES.values()


def _combination(
    name: str,
    summary: str,
    placement: Placement,
    dispatch: Dispatch,
    *,
    staging: int = 0,
    staging_layers: int = 0,
    cache: Cache | None = None,
) -> Policy:
    return Policy(
        name=name,
        summary=summary,
        source=SOURCE,
        placement=placement,
        cache=cache or StaticCache(),
        prefetch=NoPrefetch(),
        dispatch=dispatch,
        overlap=LanesOverlap(staging_experts=staging, staging_layers=staging_layers),
    )
