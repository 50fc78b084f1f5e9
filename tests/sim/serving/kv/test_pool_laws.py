"""Laws of pools of KV blocks that hold for any requests."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.serving.kv import EVICTIONS, Pool, TouchOrder, replay
from sim.serving.kv.replay import PoolResult
from sim.workload.requests import Request, Span

MADE = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 7)), min_size=1, max_size=6), max_size=30
)
POLICIES = st.sampled_from(sorted(EVICTIONS))
ORDERS = st.sampled_from(list(TouchOrder))


def _requests(made: list[list[tuple[int, int]]], shift: int = 0) -> list[Request]:
    return [
        Request(
            number=number,
            arrival_ns=0,
            prompt=tuple(
                Span(content=content + shift, num_tokens=tokens) for content, tokens in prompt
            ),
            output_tokens=1,
        )
        for number, prompt in enumerate(made)
    ]


def _hit(requests: list[Request], pool: Pool, block: int = 2, size: int = 1) -> PoolResult:
    (found,) = replay(requests, [pool], block_tokens=block, bytes_per_token=size)
    return found


@given(MADE, st.integers(0, 20), st.integers(0, 9), ORDERS)
@settings(max_examples=60)
def test_a_larger_lru_pool_hits_no_less(
    made: list[list[tuple[int, int]]], blocks: int, more: int, order: TouchOrder
) -> None:
    """LRU pools are nested, in either order of touching."""
    few, many = (
        _hit(_requests(made), Pool(capacity_bytes=2 * count, touch_order=order))
        for count in (blocks, blocks + more)
    )
    assert few.hit_tokens <= many.hit_tokens
    assert few.num_evictions >= many.num_evictions or few.pool.capacity_bytes == 0


@given(MADE, st.integers(0, 20), POLICIES, st.integers(1, 9))
@settings(max_examples=60)
def test_bytes_have_no_scale(
    made: list[list[tuple[int, int]]], blocks: int, policy: str, factor: int
) -> None:
    """As many times as large a token and a pool: the same hits and evictions."""
    one = _hit(_requests(made), Pool(capacity_bytes=2 * blocks, policy=policy))
    other = _hit(
        _requests(made), Pool(capacity_bytes=2 * blocks * factor, policy=policy), size=factor
    )
    assert (one.hit_tokens, one.num_evictions) == (other.hit_tokens, other.num_evictions)
    assert other.held_bytes == one.held_bytes * factor


@given(MADE, st.integers(0, 20), POLICIES, st.integers(1, 10**6))
@settings(max_examples=60)
def test_contents_have_no_names(
    made: list[list[tuple[int, int]]], blocks: int, policy: str, shift: int
) -> None:
    """Other texts that are equal and different in the same places give the same."""
    pool = Pool(capacity_bytes=2 * blocks, policy=policy)
    one, other = _hit(_requests(made), pool), _hit(_requests(made, shift), pool)
    assert replace(one, pool=pool) == replace(other, pool=pool)


@given(MADE, POLICIES, st.integers(1, 4))
@settings(max_examples=60)
def test_a_prompt_twice_in_a_row_is_found(
    made: list[list[tuple[int, int]]], policy: str, block: int
) -> None:
    """Without limit each whole block of a prompt that was there is a hit; policies do not matter."""
    doubled = _requests([prompt for prompt in made for _ in range(2)])
    found = _hit(doubled, Pool(capacity_bytes=None, policy=policy), block)
    whole = sum(sum(tokens for _, tokens in prompt) // block * block for prompt in made)
    assert found.hit_tokens >= whole
    assert found.num_evictions == 0
    assert found.prompt_tokens == 2 * sum(tokens for prompt in made for _, tokens in prompt)


@given(MADE, MADE, st.integers(0, 20), POLICIES)
@settings(max_examples=60)
def test_what_comes_later_changes_no_hit_before(
    made: list[list[tuple[int, int]]],
    later: list[list[tuple[int, int]]],
    blocks: int,
    policy: str,
) -> None:
    """Hits of the first requests, counted alone, are those of the whole less those behind."""
    pool = Pool(capacity_bytes=2 * blocks, policy=policy)
    first = _hit(_requests(made), pool)
    whole = _requests([*made, *later])
    (all_of_it,) = replay(whole, [pool], block_tokens=2, bytes_per_token=1)
    (behind,) = replay(
        whole, [pool], block_tokens=2, bytes_per_token=1, num_warmup_requests=len(made)
    )
    assert all_of_it.hit_tokens == first.hit_tokens + behind.hit_tokens
    assert all_of_it.prompt_tokens == first.prompt_tokens + behind.prompt_tokens
    assert all_of_it.num_evictions == behind.num_evictions
