"""The prefetch that fetches nothing ahead."""

from dataclasses import dataclass

from sim.policies.prefetch.base import Prefetch


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPrefetch(Prefetch):
    """Fetches nothing ahead: an expert moves only once its gate has selected it."""

    is_active = False
