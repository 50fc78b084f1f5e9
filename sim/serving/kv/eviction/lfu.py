"""Least frequently used."""

from collections import OrderedDict
from collections.abc import Collection

from sim.serving.kv.eviction.base import Eviction

ONCE = 1


class Lfu(Eviction):
    """The block with the fewest uses since it was stored goes first; among equals, the first that
    came to that number.

    The uses of a block that goes are forgotten. These are the rules of LMCache 0.5.6
    (storage_backend/cache_policy/lfu.py).
    """

    def __init__(self, capacity_blocks: int | None) -> None:
        super().__init__(capacity_blocks)
        self._uses: dict[int, int] = {}
        self._keys: dict[int, OrderedDict[int, None]] = {}

    def admit(self, key: int) -> None:
        """Count the storing of the block as its first use."""
        self._count(key, ONCE)

    def touch(self, key: int) -> None:
        """Count one more use of the block."""
        uses = self._uses[key]
        self._forget(key, uses)
        self._count(key, uses + 1)

    def victim(self, pinned: Collection[int]) -> int | None:
        """The unpinned block with the fewest uses; of equals, the first that came to that
        number.
        """
        # The usual case, without sorting all numbers of uses.
        if self._keys and not pinned:
            return next(iter(self._keys[min(self._keys)]))
        return next(
            (key for uses in sorted(self._keys) for key in self._keys[uses] if key not in pinned),
            None,
        )

    def dropped(self, key: int) -> None:
        """Forget the block and its uses."""
        self._forget(key, self._uses.pop(key))

    def _count(self, key: int, uses: int) -> None:
        self._uses[key] = uses
        self._keys.setdefault(uses, OrderedDict())[key] = None

    def _forget(self, key: int, uses: int) -> None:
        bucket = self._keys[uses]
        del bucket[key]
        if not bucket:
            del self._keys[uses]
