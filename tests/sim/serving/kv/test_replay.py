"""Hit rates of pools:

LMCache's own on a real trace, one pass against many, and what theory says of nested pools.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from hwprofiles.units import GIB
from sim.serving.kv import EVICTIONS, Pool, TouchOrder, lru_curve, replay
from sim.workload.requests import Request, Span, load_requests, prefix_keys
from tests.shared_data import shared_data

LMCACHE = {
    64 * GIB: (6_673_408, 262_433),
    512 * GIB: (27_704_832, 214_188),
    4096 * GIB: (53_138_432, 107_169),
    None: (54_063_104, 0),
}
"""Hit tokens and evictions that lmcache 0.5.6's cache simulator gives for the conversation trace,
by capacity.
"""

ROUNDED = {64 * GIB: 0.0461, 512 * GIB: 0.1913, None: 0.3734}

prompts = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 7)), max_size=6), max_size=30
)


def _requests(made: list[list[tuple[int, int]]]) -> list[Request]:
    spans = [
        tuple(Span(content=content, num_tokens=tokens) for content, tokens in prompt)
        for prompt in made
    ]
    return [
        Request(number=number, arrival_ns=0, prompt=prompt, output_tokens=1)
        for number, prompt in enumerate(spans)
    ]


def test_hit_rates_are_lmcaches_own() -> None:
    """On Mooncake's conversation trace hits and evictions equal those of LMCache's simulator
    exactly, rates to four digits.
    """
    requests = load_requests(str(shared_data("requests/mooncake-conversation.jsonl"))).requests()
    pools = [Pool(capacity_bytes=capacity) for capacity in LMCACHE]
    results = replay(requests, pools, block_tokens=512, bytes_per_token=131_072)
    assert {
        each.pool.capacity_bytes: (each.hit_tokens, each.num_evictions) for each in results
    } == LMCACHE
    assert all(each.prompt_tokens == 144_793_823 for each in results)
    rates = {
        each.pool.capacity_bytes: round(each.token_hit_rate, 4)
        for each in results
        if each.pool.capacity_bytes in ROUNDED
    }
    assert rates == ROUNDED


@settings(max_examples=40)
@given(prompts, st.integers(1, 9))
def test_hits_are_those_of_lmcaches_simulator(
    made: list[list[tuple[int, int]]], capacity: int
) -> None:
    """Where LMCache is installed, its simulator finds the same hits and evictions on any requests."""
    simulator = pytest.importorskip(
        "lmcache.tools.cache_simulator.simulator", reason="needs lmcache 0.5.6"
    )
    requests = [request for request in _requests(made) if request.prompt]
    events = [
        {
            "chunk_hashes": list(prefix_keys(each.prompt, 3)),
            "seq_len": each.prompt_tokens,
            "chunk_size": 3,
        }
        for each in requests
    ]
    theirs = simulator.simulate(
        events, cache_capacity_bytes=capacity * 3, kv_bytes_per_chunk=3, fast=True
    )
    (ours,) = replay(
        requests, [Pool(capacity_bytes=capacity * 3)], block_tokens=3, bytes_per_token=1
    )
    assert (ours.hit_tokens, ours.num_evictions) == (
        theirs["total_hit_tokens"],
        theirs["eviction_count"],
    )


@settings(max_examples=60)
@given(prompts, st.integers(1, 4), st.integers(0, 5))
def test_one_pass_equals_replaying_each_pool(
    made: list[list[tuple[int, int]]], block_tokens: int, warmup: int
) -> None:
    """The curve of stack distances gives for every capacity, 0 and unlimited included, what a pool
    of that size does.
    """
    requests = _requests(made)
    curve = lru_curve(
        requests, block_tokens=block_tokens, bytes_per_token=3, num_warmup_requests=warmup
    )
    capacities = [blocks * block_tokens * 3 for blocks in range(14)]
    pools = [Pool(capacity_bytes=capacity) for capacity in (*capacities, None)]
    replayed = replay(
        requests, pools, block_tokens=block_tokens, bytes_per_token=3, num_warmup_requests=warmup
    )
    assert replayed == [curve.result(pool.capacity_bytes) for pool in pools]
    for share in (0.5, 0.9, 1.0):
        enough = curve.capacity_bytes_for(share)
        assert curve.result(enough).hit_tokens >= share * replayed[-1].hit_tokens
        assert not enough or curve.result(enough - 1).hit_tokens < share * replayed[-1].hit_tokens


@pytest.mark.parametrize("policy", sorted(EVICTIONS))
@pytest.mark.parametrize("order", TouchOrder)
@settings(max_examples=30)
@given(prompts)
def test_pools_obey_their_limits(
    policy: str, order: TouchOrder, made: list[list[tuple[int, int]]]
) -> None:
    """No pool hits more than one without limit, holds more than fits, or hits at all where nothing
    fits.
    """
    requests = _requests(made)
    pools = [
        Pool(capacity_bytes=capacity, policy=policy, touch_order=order)
        for capacity in (0, 3, 17, None)
    ]
    results = replay(requests, pools, block_tokens=2, bytes_per_token=2)
    assert all(each.hit_tokens <= results[-1].hit_tokens <= each.prompt_tokens for each in results)
    assert all(
        each.held_bytes <= each.pool.capacity_bytes
        for each in results[:-1]
        if each.pool.capacity_bytes is not None
    )
    assert results[0].hit_tokens == results[1].hit_tokens == 0


def test_the_first_miss_ends_a_match() -> None:
    """A block that is held behind one that is not counts for nothing, and partial blocks never
    count.
    """
    requests = _requests(
        [[(1, 4), (2, 4), (3, 3)], [(1, 4), (2, 4), (3, 3)], [(9, 4), (2, 4), (3, 3)]]
    )
    (result,) = replay(requests, [Pool(capacity_bytes=None)], block_tokens=4, bytes_per_token=1)
    assert (result.hit_tokens, result.prompt_tokens, result.token_hit_rate) == (8, 33, 8 / 33)


def test_tail_first_keeps_the_beginning() -> None:
    """With room for two of a prompt's four blocks, tail-first serves its next beginning, head-first
    nothing.
    """
    requests = _requests([[(1, 8)], [(1, 8)]])
    pools = [Pool(capacity_bytes=4, touch_order=order) for order in TouchOrder]
    assert [
        each.hit_tokens for each in replay(requests, pools, block_tokens=2, bytes_per_token=1)
    ] == [0, 4]


def test_wrong_sizes_are_named() -> None:
    """Blocks and tokens have a size."""
    with pytest.raises(InputError, match="block_tokens must be at least 1, got 0"):
        replay([], [], block_tokens=0, bytes_per_token=1)
