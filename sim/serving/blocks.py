"""Paged KV on the GPU: sequences share its blocks by prefix, and leave them behind for later
prompts.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """The ``num_blocks`` blocks of KV of an instance.

    A block is empty, private to a sequence, or named by the key of the prefix that it ends. A named
    block that no sequence refers to is unused, and stays until room is needed. The block that
    became unused longest ago is evicted first; of one sequence, its last block (as in vLLM). Empty
    blocks are taken before any is evicted.
    """

    def __init__(self, num_blocks: int) -> None:
        """Start with all blocks empty."""
        self.num_blocks = num_blocks
        self.num_empty = num_blocks
        self.num_evictions = 0
        self._references: dict[int, int] = {}
        # Blocks that nobody refers to, the one that was let go of longest ago first.
        self._unused: OrderedDict[int, None] = OrderedDict()

    @property
    def num_available(self) -> int:
        """Blocks that could be taken: empty, or named and unused."""
        return self.num_empty + len(self._unused)

    @property
    def num_held(self) -> int:
        """Blocks that sequences hold."""
        return self.num_blocks - self.num_available

    def match(self, keys: Sequence[int], limit: int) -> tuple[int, int]:
        """Return how many of the first ``limit`` keys the pool has, up to the first that it lacks,
        and how many of those are unused.
        """
        references = self._references
        unused = self._unused
        idle = 0
        for position in range(limit):
            key = keys[position]
            if key not in references:
                if key not in unused:
                    return position, idle
                idle += 1
        return limit, idle

    def hold(self, keys: Iterable[int]) -> None:
        """Add a reference to each key's block, which the pool must have."""
        references = self._references
        unused = self._unused
        for key in keys:
            if key in references:
                references[key] += 1
            else:
                del unused[key]
                references[key] = 1

    def take(self, count: int) -> None:
        """Make ``count`` available blocks private, empty ones first; unused ones are evicted for
        the rest.
        """
        assert count <= self.num_available
        evicted = count - self.num_empty
        if evicted > 0:
            for _ in range(evicted):
                self._unused.popitem(last=False)
            self.num_evictions += evicted
            self.num_empty = 0
        else:
            self.num_empty -= count

    def publish(self, keys: Iterable[int]) -> None:
        """Name private blocks, one for each key, and refer to them.

        Where the pool has a block of that name already, that block is used, and the private one
        becomes empty.
        """
        references = self._references
        unused = self._unused
        for key in keys:
            if key in references:
                references[key] += 1
                self.num_empty += 1
            # Another sequence computed equal tokens before: one copy is enough, the private block
            # is empty again.
            elif key in unused:
                del unused[key]
                references[key] = 1
                self.num_empty += 1
            else:
                references[key] = 1

    def release(self, keys: Sequence[int], num_private: int) -> None:
        """Remove a reference from each key's block, the last key first, and empty ``num_private``
        private blocks.
        """
        references = self._references
        unused = self._unused
        # The last block first: a shorter prefix is of use to more prompts, so it should stay
        # longer.
        for key in reversed(keys):
            count = references[key]
            if count > 1:
                references[key] = count - 1
            else:
                del references[key]
                unused[key] = None
        self.num_empty += num_private
