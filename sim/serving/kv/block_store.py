"""A store of KV blocks of one size, with an eviction policy and pins."""

from collections.abc import Iterable

from sim.serving.kv.eviction.base import Eviction


class BlockStore:
    """A store of whole blocks of KV, which are found by the keys of their prefixes.

    The store holds at most ``capacity_bytes`` (None: no limit), and knows which blocks are held and
    pinned. ``eviction`` (a class of sim.serving.kv.eviction) names the block that leaves.
    """

    def __init__(
        self, *, block_bytes: int, capacity_bytes: int | None, eviction: type[Eviction]
    ) -> None:
        self.block_bytes = block_bytes
        self.capacity_bytes = capacity_bytes
        self.capacity_blocks = None if capacity_bytes is None else capacity_bytes // block_bytes
        self.num_evictions = 0
        self._eviction = eviction(self.capacity_blocks)
        self._held: set[int] = set()
        self._pins: dict[int, int] = {}

    def __contains__(self, key: int) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """Bytes of all blocks held."""
        return len(self._held) * self.block_bytes

    def match(self, keys: Iterable[int]) -> int:
        """Return how many keys, from the first on, are held without a gap. No block is touched."""
        held = self._held
        matched = 0
        for key in keys:
            if key not in held:
                break
            matched += 1
        return matched

    def touch(self, key: int) -> None:
        """Note the use of a held block. Raises KeyError for a block that is not held."""
        if key not in self._held:
            raise KeyError(key)
        self._eviction.touch(key)

    def insert(self, key: int) -> tuple[int, ...]:
        """Store a block, or touch it where it is held. Return the keys that were evicted for it.

        A block is not stored where all held blocks are pinned or the capacity is less than a block.
        ``key in store`` tells whether the block is held.
        """
        return tuple(self.insert_all((key,)))

    def insert_all(self, keys: Iterable[int]) -> list[int]:
        """Store each key in turn, as ``insert`` does. Return all keys that were evicted, in
        order.
        """
        # Local names, since this loop runs once for each block of each request.
        held = self._held
        capacity = self.capacity_blocks
        victims = list[int]()
        touch = self._eviction.touch
        admit = self._eviction.admit
        expect = self._eviction.expect
        for key in keys:
            if key in held:
                touch(key)
                continue
            # Before room is made: ARC moves its border by the key that comes, then picks the
            # victim.
            expect(key)
            if len(held) == capacity:
                victim = self._evict_one()
                # All is pinned, or the store has no room for one block.
                if victim is None:
                    continue
                victims.append(victim)
            held.add(key)
            admit(key)
        return victims

    def evict(self, num_blocks: int) -> tuple[int, ...]:
        """Evict that many blocks, fewer where the rest is pinned. Return their keys in order."""
        victims: list[int] = []
        while len(victims) < num_blocks and (victim := self._evict_one()) is not None:
            victims.append(victim)
        return tuple(victims)

    def drop(self, key: int) -> None:
        """Remove a held block that nobody needs any more, pinned or not. The removal counts as no
        eviction.

        Raises KeyError for a block that is not held.
        """
        self._held.remove(key)
        self._pins.pop(key, None)
        self._eviction.dropped(key)

    def pin(self, key: int) -> None:
        """Keep a held block until it is unpinned as often as it was pinned.

        Raises KeyError for a block that is not held.
        """
        if key not in self._held:
            raise KeyError(key)
        self._pins[key] = self._pins.get(key, 0) + 1

    def unpin(self, key: int) -> None:
        """Undo one ``pin``. Raises KeyError for a block that is not pinned."""
        self._pins[key] -= 1
        if not self._pins[key]:
            del self._pins[key]  # so that "key in pins" says it all

    def _evict_one(self) -> int | None:
        victim = self._eviction.victim(self._pins)
        if victim is not None:
            self._held.discard(victim)
            self._eviction.evicted(victim)
            self.num_evictions += 1
        return victim
