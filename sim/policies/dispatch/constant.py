"""One decision for every miss: computed on the CPU, or fetched."""

from dataclasses import dataclass

from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuDispatch(Dispatch):
    """Computes every missing expert where it lies, on the CPU."""

    rule = Rule.CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDispatch(Dispatch):
    """Copies every missing expert to the GPU, and computes it there."""

    rule = Rule.FETCH
