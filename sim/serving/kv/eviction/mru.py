"""Most recently used."""

from collections.abc import Collection

from sim.serving.kv.eviction.lru import Lru


class Mru(Lru):
    """The block that was used last goes first: what a scan longer than the store wants."""

    def victim(self, pinned: Collection[int]) -> int | None:
        """The last in the order of last use."""
        return next((key for key in reversed(self._order) if key not in pinned), None)
