"""Replay of requests against pools of KV blocks, without a clock: how many prompt tokens each pool
would have served.

The semantics are those of LMCache's cache simulator (0.5.6, lmcache/tools/cache_simulator). Only
whole blocks count, and the first miss ends a match. Every prompt token counts in the denominator.
Every full block of a prompt is touched or stored, in order.
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
    """The order in which a request touches its blocks, which decides which of them is evicted
    first.

    ``HEAD_FIRST`` begins with the first block, so that a prompt's beginning is its oldest part, as
    in LMCache's simulator. ``TAIL_FIRST`` begins with the last block, as in LMCache's servers and
    in vLLM. The beginning, which more prompts share, then outlives the end.
    """

    HEAD_FIRST = "head-first"
    TAIL_FIRST = "tail-first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool to try: its size (None: unlimited), its eviction policy by name, and its touch
    order.
    """

    capacity_bytes: int | None
    policy: str = "lru"
    touch_order: TouchOrder = TouchOrder.HEAD_FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolResult:
    """The result of replaying requests against one pool.

    ``hit_tokens`` of the ``prompt_tokens`` were matched. ``held_bytes`` are in the pool at the end.
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
        """The share of hits in all prompt tokens, those of partial blocks included; 0 without
        prompt tokens.
        """
        return self.hit_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


def replay(
    requests: Iterable[Request],
    pools: Sequence[Pool],
    *,
    block_tokens: int,
    bytes_per_token: int,
    num_warmup_requests: int = 0,
) -> list[PoolResult]:
    """Replay the requests against all pools in one pass. Return a result for each pool, in their
    order.

    The first ``num_warmup_requests`` fill the pools and are not counted. Raises InputError for an
    unknown policy or a size below 1.
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
    """Serve one request tail first, and return how many of its blocks matched.

    Matched blocks are pinned while the rest is stored, and touched after it. So no block of a
    prompt evicts the prompt's beginning.
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
