"""What starts on the GPU stays there."""

from dataclasses import dataclass

from sim.policies.base import Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticCache(Cache):
    """No expert ever leaves; a fetched one is used from its staging buffer and forgotten."""

    @property
    def is_static(self) -> bool:
        """See Cache."""
        return True
