"""Misses split over the CPU and the link, beside what the GPU has to do anyway."""

from dataclasses import dataclass

from sim.policies.belief import Source
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeLanesDispatch(Dispatch):
    """Gives the experts of fewest tokens to the CPU as long as max(CPU, link, GPU) falls:
    HybriMoE's greedy rule (arXiv 2504.05897).

    The GPU's work on residents counts; copies overlap with its runs. Within a lane experts go by
    number, not by tokens.
    """

    believed_cost: Source = "priced"

    rule = Rule.THREE_LANES
