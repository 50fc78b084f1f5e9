"""Least recently used."""

from collections import OrderedDict
from collections.abc import Collection

from sim.serving.kv.eviction.base import Eviction


class Lru(Eviction):
    """The block whose last use is the longest ago goes first."""

    def __init__(self, capacity_blocks: int | None) -> None:
        super().__init__(capacity_blocks)
        self._order: OrderedDict[int, None] = OrderedDict()

    def admit(self, key: int) -> None:
        """Put the new block behind all others."""
        self._order[key] = None

    def touch(self, key: int) -> None:
        """Move the block behind all others."""
        self._order.move_to_end(key)

    def victim(self, pinned: Collection[int]) -> int | None:
        """The block whose last use is longest ago, and that is not pinned."""
        # Pinned blocks are few and in use, so they seldom stand at the front.
        return next((key for key in self._order if key not in pinned), None)

    def dropped(self, key: int) -> None:
        """Forget the block."""
        del self._order[key]
