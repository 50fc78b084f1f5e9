"""The blocks of the sequences of an instance: how many each needs, and the names of the full ones."""

from sim.serving.blocks import BlockPool
from sim.serving.options import InstanceOptions
from sim.serving.sequence import Sequence
from sim.workload.requests.prefix_keys import prefix_keys
from sim.workload.requests.request import Span


class SequenceBlocks:
    """Takes blocks of a pool for sequences, names those that are full, and gives them back."""

    def __init__(self, pool: BlockPool, options: InstanceOptions) -> None:
        self._pool = pool
        self._size = options.block_tokens
        self._has_prefix_cache = options.has_prefix_cache

    def count(self, tokens: int) -> int:
        """Return how many blocks the KV of that many tokens takes."""
        return -(-tokens // self._size)

    def match(self, sequence: Sequence, tokens: int) -> tuple[int, int]:
        """Return how many full blocks of a sequence's first tokens the pool has, and how many of
        those are unused.
        """
        keys = self._keys(sequence)
        # The last token is always computed, even where its block is here: the next token comes from it.
        return self._pool.match(keys, min(len(keys), (tokens - 1) // self._size))

    def claim(self, sequence: Sequence) -> int | None:
        """Give a sequence blocks for its target. Return how many of them the pool had already, or
        None where too few are available.
        """
        hits, num_unused = self.match(sequence, sequence.target_tokens)
        total = self.count(sequence.target_tokens)
        # One block is kept for the growth of others. Unused blocks that this sequence is about to
        # hold are still counted as available, but cannot be taken too.
        if total - hits + 1 > self._pool.num_available - num_unused:
            return None
        self._pool.hold(self._keys(sequence)[:hits])
        self._pool.take(total - hits)
        sequence.num_blocks = total
        sequence.num_keyed = hits
        return hits

    def publish(self, sequence: Sequence) -> None:
        """Name the blocks of a sequence that have become full."""
        keys = self._keys(sequence)
        full = min(len(keys), sequence.computed_tokens // self._size)
        if full > sequence.num_keyed:
            self._pool.publish(keys[sequence.num_keyed : full])
            sequence.num_keyed = full

    def release(self, sequence: Sequence) -> None:
        """Give back all blocks of a sequence; those with names stay for others to find."""
        self._pool.release(
            self._keys(sequence)[: sequence.num_keyed], sequence.num_blocks - sequence.num_keyed
        )
        sequence.num_blocks = sequence.num_keyed = 0

    def _keys(self, sequence: Sequence) -> tuple[int, ...]:
        """Keys of the blocks of prompt and answer; none without a prefix cache."""
        # Made when first needed and kept: each attempt to admit a sequence asks for them again.
        if sequence.keys is None:
            sequence.keys = self._make_keys(sequence) if self._has_prefix_cache else ()
        return sequence.keys

    def _make_keys(self, sequence: Sequence) -> tuple[int, ...]:
        request = sequence.request
        parts = request.prompt
        if request.answer is not None:
            parts += (Span(content=request.answer, num_tokens=request.output_tokens),)
        return prefix_keys(parts, self._size)
