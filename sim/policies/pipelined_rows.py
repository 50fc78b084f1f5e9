"""Named systems that pipeline layers over micro-batches: MoE-Lightning."""

from sim.policies.dispatch.paged import PagedDispatch
from sim.policies.overlap import Overlap
from sim.policies.pipeline_search import PipelineTuning
from sim.policies.placement.paged import PagedPlacement
from sim.policies.policy import Policy

PIPELINED_ROWS: tuple[Policy, ...] = (
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
)
