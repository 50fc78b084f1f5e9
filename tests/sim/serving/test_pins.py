"""Pinned prefixes: they stay, others have the rest, and everything is still accounted for."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine
from sim.model.library import load_model
from sim.serving.offload_options import Mode, OffloadOptions, OffloadSpec
from sim.serving.pins import Pin, PinnedChunks
from sim.serving.setting import serving_setting
from sim.serving.spec import ServingSpec
from sim.serving.tier import KvTier
from sim.workload.requests.prefix_keys import prefix_keys
from sim.workload.requests.request import Request, Span
from tests.sim.serving.clusters import request, serve_all
from tests.sim.serving.test_tiers import CHUNK_BYTES, CHUNK_TOKENS, offloading, tier

SYSTEM = Span(content=1, num_tokens=2 * CHUNK_TOKENS)
PIN = Pin(request=0, tokens=2 * CHUNK_TOKENS + 3)


def _asked(number: int) -> Request:
    """The system prompt and a question that fills two more chunks, one request after another's end."""
    prompt = (SYSTEM, Span(content=100 + number, num_tokens=2 * CHUNK_TOKENS))
    return Request(number=number, arrival_ns=number * 10**8, prompt=prompt, output_tokens=1)


def _served(*numbers: int, **rest: Any) -> dict[str, int]:
    """Where the prompts of these were found: between those who have the system prompt come
    strangers.
    """
    rows = [
        _asked(number)
        if number in numbers
        else request(number, number * 10**8, 3 * CHUNK_TOKENS, 1)
        for number in range(8)
    ]
    return serve_all(offloading(tier(capacity_chunks=4), **rest), rows).recorder.hit_tokens


def test_a_pinned_prefix_stays() -> None:
    """Strangers wash a small memory clean; the pinned two chunks of the system prompt are found
    again, and no more than those.
    """
    assert _served(0, 4, 7) == {"gpu": 0}
    found = _served(0, 4, 7, pins=(PIN,))
    assert found["cpu"] == 2 * 2 * CHUNK_TOKENS


def test_every_instance_keeps_what_is_pinned() -> None:
    """Two tiers of one chunk, the first with the chunk before it is pinned, the second after:
    neither lets go of it for others.
    """
    pinned, tiers = (
        PinnedChunks((Pin(request=0, tokens=CHUNK_TOKENS),), CHUNK_TOKENS),
        [KvTier(tier(capacity_chunks=1), CHUNK_BYTES) for _ in "ab"],
    )
    for each in tiers:
        pinned.watch(each)
    assert tiers[0].keep(5)
    pinned.admitted(0, (5, 6))
    assert tiers[1].keep(5)
    assert not any(each.keep(6) for each in tiers) and all(5 in each.store for each in tiers)


def test_what_is_held_already_is_pinned_too() -> None:
    """Request 1 pins what request 0 has stored: it is found by request 6."""
    assert (
        _served(0, 1, 6, pins=(Pin(request=1, tokens=2 * CHUNK_TOKENS),))["cpu"]
        == 2 * 2 * CHUNK_TOKENS
    )
    assert _served(0, 1, 6)["cpu"] == 2 * CHUNK_TOKENS


@settings(deadline=None, max_examples=25)
@given(
    capacity=st.integers(1, 6),
    policy=st.sampled_from(["lru", "lfu", "fifo", "mru", "arc"]),
    mode=st.sampled_from(list(Mode)),
    contents=st.lists(st.integers(1, 4), min_size=2, max_size=20),
)
def test_bytes_are_conserved_and_pins_held(
    capacity: int, policy: str, mode: Mode, contents: list[int]
) -> None:
    """Whatever is served: stored is evicted or held, no tier exceeds its capacity, and of the
    pinned chunks as many are held as fit.
    """
    rows = [
        request(number, number * 10**7, 3 * CHUNK_TOKENS, 1, content=content)
        for number, content in enumerate(contents)
    ]
    tiers = (
        tier(capacity_chunks=capacity, policy=policy),
        tier("disk", capacity_chunks=capacity + 2, policy=policy),
    )
    run = serve_all(
        offloading(*tiers, mode=mode, pins=(Pin(request=0, tokens=2 * CHUNK_TOKENS),)), rows
    )
    assert run.metrics.num_requests == len(contents)
    for use in run.metrics.tiers:
        assert use.stored_bytes == use.evicted_bytes + use.held_bytes
        assert use.capacity_bytes is not None and use.peak_bytes <= use.capacity_bytes
    assert run.metrics.tiers[0].held_bytes >= min(capacity, 2) * CHUNK_BYTES


def test_pins_of_a_serving_file() -> None:
    """The keys of the file reach the run; request 0 if left out."""
    spec = ServingSpec.model_validate(
        {
            "tiers": [{"name": "cpu"}],
            "offload": {"pins": [{"tokens": 512}, {"request": 3, "tokens": 300}]},
        }
    )
    offload = serving_setting(spec, load_machine("h100"), load_model("llama-3.1-8b")).offload
    assert offload is not None and offload.rules.pins == (
        Pin(request=0, tokens=512),
        Pin(request=3, tokens=300),
    )


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ((Pin(request=0, tokens=7),), "tokens must be at least offload.chunk_tokens"),
        ((PIN, PIN), "each request may be named once"),
    ],
)
def test_pins_that_say_nothing_are_refused(pins: tuple[Pin, ...], message: str) -> None:
    """Less than a chunk, and a request twice."""
    with pytest.raises(InputError, match=message):
        OffloadOptions(tiers=(tier(),), rules=OffloadSpec(chunk_tokens=CHUNK_TOKENS, pins=pins))


def test_keys_of_the_system_prompt_are_shared() -> None:
    """The first two chunks of two requests are the same, the others are not."""
    first, second = (prefix_keys(_asked(number).prompt, CHUNK_TOKENS) for number in (0, 4))
    assert first[:2] == second[:2] and not set(first[2:]) & set(second[2:])
