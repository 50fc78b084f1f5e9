"""Named systems whose CPU experts start in one layer and are joined in the next:

KTransformers' deferral, DAOP.
"""

from sim.policies.cache.swaps import SwapsCache
from sim.policies.dispatch.constant import CpuDispatch
from sim.policies.dispatch.foretold import ForetoldDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.policy import Policy

CARRYING_ROWS: tuple[Policy, ...] = (
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
)
