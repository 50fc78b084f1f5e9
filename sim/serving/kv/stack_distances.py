"""The hits of an LRU pool at every capacity, in one pass over a trace (Mattson et al., IBM Systems
Journal 9(2), 1970).

LRU pools are nested: a larger pool holds all blocks that a smaller one holds. So the place of a
touched block in the order of last use tells which pools have the block.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sim.serving.kv.replay import Pool, PoolResult, check_sizes
from sim.workload.requests.prefix_keys import prefix_keys
from sim.workload.requests.request import Request

Blocks = NDArray[np.int64]
NEVER = np.iinfo(np.int64).max
"""The distance of a block that is touched for the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LruCurve:
    """The hits and evictions of LRU pools of every capacity on one trace, touched head-first.

    ``touch_blocks`` has, for each touch, the least capacity in blocks at which the pool has the
    block. ``match_blocks`` has, for each block that some pool matches, the least capacity in blocks
    at which a pool matches it. Both arrays ascend.
    """

    num_requests: int
    prompt_tokens: int
    num_distinct_blocks: int
    touch_blocks: Blocks
    match_blocks: Blocks
    block_tokens: int
    block_bytes: int

    def fits(self, pool: Pool) -> bool:
        """Whether a pool never has to evict a block, so that its policy does not matter."""
        return (
            pool.capacity_bytes is None
            or pool.capacity_bytes // self.block_bytes >= self.num_distinct_blocks
        )

    def capacity_bytes_for(self, share: float) -> int:
        """Bytes of the smallest pool that has at least that share of an unlimited pool's hits; 0
        where there are no hits at all.
        """
        # Rounded up: at least that share, never a little less.
        needed = -(-len(self.match_blocks) * share // 1)
        return (
            int(self.match_blocks[max(int(needed), 1) - 1]) * self.block_bytes
            if len(self.match_blocks)
            else 0
        )

    def result(self, capacity_bytes: int | None) -> PoolResult:
        """Return what ``replay`` gives for an LRU pool of that capacity, touched head-first."""
        capacity = (
            self.num_distinct_blocks
            if capacity_bytes is None
            else capacity_bytes // self.block_bytes
        )
        held = min(capacity, self.num_distinct_blocks)
        stored = (
            len(self.touch_blocks) - int(np.searchsorted(self.touch_blocks, capacity, side="right"))
            if capacity
            else 0
        )
        return PoolResult(
            pool=Pool(capacity_bytes=capacity_bytes),
            num_requests=self.num_requests,
            prompt_tokens=self.prompt_tokens,
            hit_tokens=int(np.searchsorted(self.match_blocks, capacity, side="right"))
            * self.block_tokens,
            num_evictions=stored - held,
            held_bytes=held * self.block_bytes,
        )


def lru_curve(
    requests: Iterable[Request],
    *,
    block_tokens: int,
    bytes_per_token: int,
    num_warmup_requests: int = 0,
) -> LruCurve:
    """Return the curve of a trace, counted as ``replay`` does.

    Memory grows with the number of touches. Raises InputError for a size below 1.
    """
    check_sizes(block_tokens, bytes_per_token)
    latest: dict[int, int] = {}
    before: list[int] = []
    starts = [0]
    prompt_tokens = 0
    for number, request in enumerate(requests):
        prompt_tokens += request.prompt_tokens if number >= num_warmup_requests else 0
        for key in prefix_keys(request.prompt, block_tokens):
            before.append(latest.get(key, -1))
            latest[key] = len(before) - 1
        starts.append(len(before))
    needed = _needed_blocks(np.array(before, np.int64))
    return LruCurve(
        num_requests=max(0, len(starts) - 1 - num_warmup_requests),
        prompt_tokens=prompt_tokens,
        num_distinct_blocks=len(latest),
        touch_blocks=np.sort(needed),
        match_blocks=_match_blocks(needed, starts[num_warmup_requests:]),
        block_tokens=block_tokens,
        block_bytes=block_tokens * bytes_per_token,
    )


def _match_blocks(needed: Blocks, starts: Sequence[int]) -> Blocks:
    """Return, ascending, the least capacity in blocks at which each block is matched.

    A block is matched if the pool has it and all blocks before it in its request. So the need of a
    block is the largest one so far. Touching blocks that a pool has evicts nothing, so within a
    match the needs are those at the request's start.
    """
    parts = [np.maximum.accumulate(needed[start:end]) for start, end in pairwise(starts)]
    together = np.concatenate(parts) if parts else needed[:0]
    return np.sort(together[together < NEVER])


def _needed_blocks(before: Blocks) -> Blocks:
    """Return, for each touch, the least capacity in blocks at which a pool has the block.

    ``before[t]`` is the touch of the same block before touch t (-1: none). The need is 1 + the
    distinct blocks touched between the two, or NEVER for a first touch. A touch j between them with
    before[j] > before[t] repeats a block, so it is not counted.
    """
    touches = np.arange(len(before))
    again = before >= 0
    repeats = _num_larger_before(before, touches[again], before[again])
    needed = np.full(len(before), NEVER)
    needed[again] = touches[again] - before[again] - repeats
    return needed


def _num_larger_before(values: Blocks, ends: Blocks, limits: Blocks) -> Blocks:
    """Return, for each query, how many of the first ``ends[query]`` values exceed
    ``limits[query]``.

    The first ``end`` values are split into aligned runs of 1, 2, 4, … values, one for each bit of
    ``end``. Runs are sorted, and all queries that need a run of one length are answered at once.
    """
    size = 1 << max(len(values) - 1, 1).bit_length()
    padded = np.full(size, -1, np.int64)
    padded[: len(values)] = values
    counts = np.zeros(len(ends), np.int64)
    length = 1
    while length <= size:
        # Bit by bit of ``ends``: each query visits one run for each bit that is set, so all take
        # n·log² n.
        asked = np.flatnonzero(ends & length)
        if len(asked):
            # Each run is shifted by more than any value, so that one sorted array holds all runs of
            # a length and one search answers the queries of all.
            runs = (
                np.sort(padded.reshape(-1, length), axis=1)
                + (np.arange(size // length) * (size + 1))[:, None]
            )
            run = (ends[asked] // length) - 1
            upto = np.searchsorted(runs.ravel(), limits[asked] + run * (size + 1), side="right")
            counts[asked] += (run + 1) * length - upto
        length *= 2
    return counts
