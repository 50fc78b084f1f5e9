"""What a dispatch believes that things cost, which may differ from what they do cost."""

from dataclasses import dataclass
from typing import Literal

from hwprofiles.units import NS_PER_MS
from sim.policies.base import Problem

Source = Literal["measured", "code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """The straight line of Fiddler's algorithm 1: a CPU expert costs ``cpu_ns_per_token`` times its tokens, the rest is constant."""

    cpu_ns_per_token: int
    gpu_ns: int
    copy_ns: int


RELEASED = Belief(cpu_ns_per_token=7 * NS_PER_MS, gpu_ns=0, copy_ns=70 * NS_PER_MS)
"""Constants of the released code: github.com/efeslab/fiddler, branch main, src/fiddler/mixtral.py (latency_cpu 7, latency_gpu 70)."""


def belief(source: Source, layer: int, problem: Problem) -> Belief:
    """``code``: the released constants. ``measured``: prices of one token on this machine, as the paper's start-up measures them."""
    if source == "code":
        return RELEASED
    costs = problem.costs
    return Belief(
        cpu_ns_per_token=int(costs.expert("cpu", layer, 1).ns),
        gpu_ns=int(costs.expert("gpu", layer, 1).ns),
        copy_ns=int(costs.copy("h2d", problem.model.layers[layer].expert_bytes, is_pinned=problem.overlap.is_pinned).ns),
    )
