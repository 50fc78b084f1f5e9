"""Named systems whose CPU experts start in one layer and are joined in the next: KTransformers' deferral."""

from sim.policies.cache.static import StaticCache
from sim.policies.dispatch.constant import CpuDispatch
from sim.policies.overlap.lanes import LanesOverlap
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.policy import Policy
from sim.policies.prefetch.none import NoPrefetch

CARRYING_ROWS: tuple[Policy, ...] = (
    Policy(
        name="ktransformers-deferral",
        summary="as ktransformers, but each layer's least weighted experts on the CPU are added one layer late, so attention need not wait",
        source=(
            "KTransformers (SOSP 2025), expert deferral; one expert a token, as its example of --kt-max-deferred-experts-per-token; as in "
            "kt-kernel the lowest of all selected are deferred if they lie on the CPU, and none in the last layer; in decode only: assumed"
        ),
        placement=UniformPlacement(),
        cache=StaticCache(),
        prefetch=NoPrefetch(),
        dispatch=CpuDispatch(),
        overlap=LanesOverlap(staging_experts=0, deferred=1),
        is_lossless=False,
    ),
)
