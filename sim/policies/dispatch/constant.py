"""Every miss meets the same fate: computed on the CPU, or fetched."""

from dataclasses import dataclass

from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuDispatch(Dispatch):
    """A missing expert is computed where it lies, on the CPU."""

    rule = Rule.CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDispatch(Dispatch):
    """A missing expert is copied to the GPU and computed there."""

    rule = Rule.FETCH
