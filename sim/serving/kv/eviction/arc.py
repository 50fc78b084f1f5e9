"""Adaptive replacement (Megiddo and Modha, FAST 2003): recent and frequent blocks, with a border
that adapts.
"""

from collections import OrderedDict
from collections.abc import Collection

from sim.serving.kv.eviction.base import Eviction

Keys = OrderedDict[int, None]


class Arc(Eviction):
    """Blocks used once (T1) and blocks used more often (T2), each with its ghosts: the keys last
    evicted from it (B1, B2).

    A key that comes back out of B1 shows that T1 is too small; out of B2, that T2 is. The rules are
    those of figure 4 of the paper. Ghosts are cut to |T1| + |B1| <= c and to 2c in all after an
    admission instead of before it. The result is the same.
    """

    def __init__(self, capacity_blocks: int | None) -> None:
        super().__init__(capacity_blocks)
        self._recent: Keys = OrderedDict()
        self._frequent: Keys = OrderedDict()
        self._recent_ghosts: Keys = OrderedDict()
        self._frequent_ghosts: Keys = OrderedDict()
        self._target = 0.0
        self._is_back_as_frequent = False

    def expect(self, key: int) -> None:
        """Move the border between the sides if the key is a ghost."""
        recent = len(self._recent_ghosts)
        frequent = len(self._frequent_ghosts)
        self._is_back_as_frequent = key in self._frequent_ghosts
        if key in self._recent_ghosts:
            # By more than one where the other side's ghosts are many: its hits are then the rarer
            # news.
            self._target = min(
                self._target + max(frequent / recent, 1.0), self.capacity_blocks or 0
            )
        elif self._is_back_as_frequent:
            self._target = max(self._target - max(recent / frequent, 1.0), 0.0)

    def admit(self, key: int) -> None:
        """Put a new block among the recent ones, and a ghost that is back among the frequent ones."""
        if key in self._recent_ghosts:
            del self._recent_ghosts[key]
            self._frequent[key] = None
        elif key in self._frequent_ghosts:
            del self._frequent_ghosts[key]
            self._frequent[key] = None
        else:
            self._recent[key] = None
        self._is_back_as_frequent = False
        self._cut_ghosts()

    def touch(self, key: int) -> None:
        """Put the block at the end of the frequent ones."""
        self._recent.pop(key, None)
        self._frequent[key] = None
        self._frequent.move_to_end(key)

    def victim(self, pinned: Collection[int]) -> int | None:
        """The oldest unpinned block of the side that has more than its share, else of the other
        side; None where all are pinned.
        """
        size = len(self._recent)
        is_recent_due = size > 0 and (
            size > self._target or (self._is_back_as_frequent and size == self._target)
        )
        # Figure 4 knows no pins. Where all of a side are pinned, the other must give.
        sides = (self._recent, self._frequent) if is_recent_due else (self._frequent, self._recent)
        return next((key for side in sides for key in side if key not in pinned), None)

    def evicted(self, key: int) -> None:
        """Remember the key as a ghost of its side."""
        if key in self._recent:
            del self._recent[key]
            self._recent_ghosts[key] = None
        else:
            del self._frequent[key]
            self._frequent_ghosts[key] = None

    def dropped(self, key: int) -> None:
        """Forget the key without a ghost, as it teaches nothing."""
        self._recent.pop(key, None)
        self._frequent.pop(key, None)

    def _cut_ghosts(self) -> None:
        capacity = self.capacity_blocks
        if capacity is None:
            return
        while self._recent_ghosts and len(self._recent) + len(self._recent_ghosts) > capacity:
            self._recent_ghosts.popitem(last=False)
        held = len(self._recent) + len(self._frequent)
        while (
            self._frequent_ghosts
            and held + len(self._recent_ghosts) + len(self._frequent_ghosts) > 2 * capacity
        ):
            self._frequent_ghosts.popitem(last=False)
