"""Most recently used."""

from collections.abc import Collection

from sim.serving.kv.eviction.lru import Lru


class Mru(Lru):
    """The block that was used last goes first, which suits a scan longer than the store."""

    def victim(self, pinned: Collection[int]) -> int | None:
        """The block that was used last, of those that are not pinned."""
        return next((key for key in reversed(self._order) if key not in pinned), None)
