"""Requests against pools of KV blocks, without a clock: how many prompt tokens each pool would have
served.

Semantics of LMCache's cache simulator (0.5.6, lmcache/tools/cache_simulator): whole blocks only,
the first miss ends a match, every prompt token counts in the denominator, and every full block of a
prompt is touched or stored, in order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hwprofiles import InputError
from sim.serving.kv.block_store import BlockStore
from sim.serving.kv.eviction.library import eviction
from sim.workload.requests.prefix_keys import prefix_keys
from sim.workload.requests.request import Request


class TouchOrder(StrEnum):
    """The order in which a request touches its blocks. It decides which of them is evicted first.

    ``HEAD_FIRST``: from the first on, so the beginning of a prompt is the oldest of it, as in
    LMCache's simulator. ``TAIL_FIRST``: from the last on, so that the beginning, which more prompts
    share, outlives the end, as in LMCache's servers and in vLLM.
    """

    HEAD_FIRST = "head-first"
    TAIL_FIRST = "tail-first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool to try: its size (None: unlimited), its policy by name, and its order."""

    capacity_bytes: int | None
    policy: str = "lru"
    touch_order: TouchOrder = TouchOrder.HEAD_FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolResult:
    """What a pool did. ``hit_tokens`` were matched, of ``prompt_tokens``; ``held_bytes`` are in it
    at the end.

    Requests, tokens and hits are counted after the warm-up, evictions throughout.
    """

    pool: Pool
    num_requests: int
    prompt_tokens: int
    hit_tokens: int
    num_evictions: int
    held_bytes: int

    @property
    def token_hit_rate(self) -> float:
        """Share of all prompt tokens, those of partial blocks included; 0 where there are none."""
        return self.hit_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


def replay(
    requests: Iterable[Request],
    pools: Sequence[Pool],
    *,
    block_tokens: int,
    bytes_per_token: int,
    num_warmup_requests: int = 0,
) -> list[PoolResult]:
    """All pools in one pass over the requests; a result a pool, in their order. Raises InputError
    for an unknown policy or a wrong size.

    The first ``num_warmup_requests`` fill the pools and are not counted.
    """
    check_sizes(block_tokens, bytes_per_token)
    block_bytes = block_tokens * bytes_per_token
    stores = [
        BlockStore(
            block_bytes=block_bytes,
            capacity_bytes=pool.capacity_bytes,
            eviction=eviction(pool.policy),
        )
        for pool in pools
    ]
    # Looked up once: the inner loop runs for every pool and every request.
    serve = [
        _head_first if pool.touch_order is TouchOrder.HEAD_FIRST else _tail_first for pool in pools
    ]
    hit_blocks = [0] * len(pools)
    num_requests = 0
    prompt_tokens = 0
    for number, request in enumerate(requests):
        keys = prefix_keys(request.prompt, block_tokens)
        is_counted = number >= num_warmup_requests
        # Booleans count as 0 or 1: the warm-up takes the same path as what is counted.
        num_requests += is_counted
        prompt_tokens += is_counted * request.prompt_tokens
        for index, store in enumerate(stores):
            hit_blocks[index] += is_counted * serve[index](store, keys)
    return [
        PoolResult(
            pool=pool,
            num_requests=num_requests,
            prompt_tokens=prompt_tokens,
            hit_tokens=hits * block_tokens,
            num_evictions=store.num_evictions,
            held_bytes=store.held_bytes,
        )
        for pool, store, hits in zip(pools, stores, hit_blocks, strict=True)
    ]


def check_sizes(block_tokens: int, bytes_per_token: int) -> None:
    """Raise InputError for a size below 1."""
    for name, value in (("block_tokens", block_tokens), ("bytes_per_token", bytes_per_token)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")


def _head_first(store: BlockStore, keys: Sequence[int]) -> int:
    matched = store.match(keys)
    store.insert_all(keys)
    return matched


def _tail_first(store: BlockStore, keys: Sequence[int]) -> int:
    """What was matched is pinned while the rest is stored, and touched behind it: nothing of a
    prompt evicts its beginning.
    """
    matched = store.match(keys)
    for key in keys[:matched]:
        # Else storing the rest could evict what was just matched, and the end of a prompt would
        # push out its beginning.
        store.pin(key)
    store.insert_all(reversed(keys[matched:]))
    for key in reversed(keys[:matched]):
        store.unpin(key)
        store.touch(key)
    return matched
