"""Reuse of what is no prefix: found anywhere, loaded whole, computed in part, and nothing lost."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine
from sim.model.library import load_model
from sim.serving import ServingRun
from sim.serving.blend import Blend
from sim.serving.link import TransferRate
from sim.serving.offload_options import Loading, Mode
from sim.serving.prices import TICKS_PER_NS
from sim.serving.setting import serving_setting
from sim.serving.spec import ServingSpec
from sim.workload.requests.content_keys import content_keys
from sim.workload.requests.request import Request, Span
from tests.sim.serving.clusters import odd_prices, serve_all
from tests.sim.serving.test_tiers import CHUNK_BYTES, CHUNK_TOKENS, COPY_IN, offloading, tier

FAST = TransferRate(bytes_per_s=1e15)
NUM_LAYERS = 7
"""Of odd_prices."""


def _asked(number: int, *contents: int) -> Request:
    """A prompt of documents of a chunk each, and four tokens of its own."""
    spans = [Span(content=content, num_tokens=CHUNK_TOKENS) for content in contents]
    return Request(
        number=number,
        arrival_ns=number * 10**10,
        prompt=(*spans, Span(content=1000 + number, num_tokens=4)),
        output_tokens=1,
    )


def _served(*prompts: tuple[int, ...], read: TransferRate = FAST, **rest: Any) -> ServingRun:
    rows = [_asked(number, *contents) for number, contents in enumerate(prompts)]
    return serve_all(
        offloading(tier(read=read, write=FAST), prices=odd_prices(window_tokens=None), **rest), rows
    )


def _ttft_ns(run: ServingRun) -> list[int]:
    return [round(ttft * 1e9) for ttft in run.recorder.ttft_s]


def test_documents_are_found_in_another_order() -> None:
    """Three documents, then the same turned round behind a new one: no prefix is shared, three
    chunks are found.
    """
    prompts = (1, 2, 3), (9, 3, 1, 2)
    assert _served(*prompts).recorder.hit_tokens == {"gpu": 0}
    assert _served(*prompts, blend=Blend()).recorder.hit_tokens == {
        "gpu": 0,
        "cpu": 3 * CHUNK_TOKENS,
    }


def test_mending_takes_between_nothing_and_all() -> None:
    """All of it computed anew takes as long as no reuse; less takes less; check layers are computed
    whole.
    """
    prompts = (1, 2, 3), (9, 3, 1, 2)
    plain = _ttft_ns(_served(*prompts))[1]
    assert _ttft_ns(_served(*prompts, blend=Blend(recompute_fraction=1)))[1] == pytest.approx(
        plain, abs=2
    )
    assert _ttft_ns(_served(*prompts, blend=Blend(num_check_layers=NUM_LAYERS)))[
        1
    ] == pytest.approx(plain, abs=2)
    part, little = (
        _ttft_ns(_served(*prompts, blend=Blend(recompute_fraction=part)))[1] for part in (0.5, 0.15)
    )
    assert little < part < plain


def test_mended_layers_compute_what_was_not_found_and_a_share_of_what_was() -> None:
    """Of 36 tokens 24 are found: 12 + ⌈0.15 · 24⌉ = 16 are computed, that share of the pairs, and
    all KV is read.
    """
    prices = odd_prices(window_tokens=None)
    pairs = sum(range(1, 37)) * 16 // 36
    ticks = prices.step(16, 1, [36, 36], [pairs, pairs])
    found = _ttft_ns(_served((1, 2, 3), (9, 3, 1, 2), blend=Blend(num_check_layers=0)))[1]
    assert found == pytest.approx(ticks / TICKS_PER_NS, abs=2)


@pytest.mark.parametrize("bytes_per_s", [8e6, 8e4])
def test_a_layer_takes_the_longer_of_loading_and_mending(bytes_per_s: float) -> None:
    """CacheBlend's formula for one check layer, with a step's mended time taken from one whose loads
    take none.
    """
    prompts, read = ((1, 2, 3), (9, 3, 1, 2)), TransferRate(bytes_per_s=bytes_per_s)
    full = _ttft_ns(_served(*prompts))[1]
    mended = _ttft_ns(_served(*prompts, blend=Blend(num_check_layers=0)))[1]
    load = read.duration_ns(3, 3 * CHUNK_BYTES)
    found = _ttft_ns(_served(*prompts, read=read, blend=Blend()))[1]
    others = NUM_LAYERS - 1
    expected = (max(load, full) + others * max(load, mended)) / NUM_LAYERS
    assert found == pytest.approx(expected, abs=3)


def test_blending_only_where_it_is_cheaper() -> None:
    """Over a link of a byte a second everything is computed; over a fast one it is mended."""
    prompts = (1, 2, 3), (9, 3, 1, 2)
    slow = _served(
        *prompts, read=TransferRate(bytes_per_s=1.0), loading=Loading.CHEAPER, blend=Blend()
    )
    assert slow.recorder.hit_tokens == {"gpu": 0}
    assert (
        _served(*prompts, loading=Loading.CHEAPER, blend=Blend()).recorder.hit_tokens["cpu"]
        == 3 * CHUNK_TOKENS
    )


@settings(deadline=None, max_examples=25)
@given(
    capacity=st.integers(0, 6),
    num_blocks=st.integers(14, 40),
    prompts=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=15),
    has_prefix_cache=st.booleans(),
    loading=st.sampled_from(list(Loading)),
)
def test_nothing_is_lost(
    capacity: int,
    num_blocks: int,
    prompts: list[list[int]],
    has_prefix_cache: bool,
    loading: Loading,
) -> None:
    """Every request ends, every block is freed, stored is evicted or held, no tier exceeds its
    capacity, no token is found twice.
    """
    spans = [
        tuple(Span(content=content, num_tokens=CHUNK_TOKENS) for content in contents)
        for contents in prompts
    ]
    rows = [
        Request(number=number, arrival_ns=number * 1000, prompt=each, output_tokens=6)
        for number, each in enumerate(spans)
    ]
    tiers = (
        tier(capacity_chunks=capacity + 1),
        tier("disk", capacity_chunks=3, read=COPY_IN, write=COPY_IN),
    )
    rest = {"num_blocks": num_blocks, "has_prefix_cache": has_prefix_cache, "loading": loading}
    run = serve_all(offloading(*tiers, prices=odd_prices(), blend=Blend(), **rest), rows)
    assert run.metrics.num_requests == len(prompts)
    for use in run.metrics.tiers:
        assert use.stored_bytes == use.evicted_bytes + use.held_bytes
        assert use.capacity_bytes is not None and use.peak_bytes <= use.capacity_bytes
    assert sum(run.recorder.hit_tokens.values()) <= run.recorder.prompt_tokens


def test_content_keys_do_not_depend_on_place() -> None:
    """Whole blocks of the same tokens have one key; the same content cut elsewhere has another."""
    one, two = Span(content=1, num_tokens=8), Span(content=2, num_tokens=8)
    assert content_keys((one, two), 8) == content_keys((two, one), 8)[::-1]
    assert content_keys((one, two), 4) != content_keys((two, one), 4)
    shifted = content_keys((Span(content=3, num_tokens=2), one, two), 8)
    assert len(shifted) == 2 and not set(shifted) & set(content_keys((one, two), 8))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"mode": Mode.SERVER}, "offload.blend is for mode in-process"),
        ({"prefetches": True}, "offload.blend is for mode in-process"),
        ({"touch_order": "head-first"}, "touch_order tail-first"),
        ({"blend": {"recompute_fraction": 2}}, "recompute_fraction"),
    ],
)
def test_what_does_not_go_together_is_refused(rest: dict[str, Any], message: str) -> None:
    """The server and prefetching move prefixes; a fraction is at most all."""
    with pytest.raises((InputError, ValueError), match=message):
        spec = ServingSpec.model_validate(
            {"tiers": [{"name": "cpu"}], "offload": {"blend": {}} | rest}
        )
        serving_setting(spec, load_machine("h100"), load_model("llama-3.1-8b"))
