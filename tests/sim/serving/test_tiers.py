"""KV behind the GPU: what is found where, what it costs, and that nothing is lost or made."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hwprofiles import InputError
from hwprofiles.units import GIB
from sim.serving import Cluster, ServingRun
from sim.serving.kv.replay import Pool, TouchOrder, replay
from sim.serving.link import TransferRate
from sim.serving.offload_options import Loading, Mode, OffloadOptions, OffloadSpec
from sim.serving.tier import Compression, TierOptions
from sim.workload.requests import load_requests
from sim.workload.requests.request import Request
from tests.shared_data import shared_data
from tests.sim.serving.clusters import cluster, constant_prices, odd_prices, request, serve_all
from tests.sim.serving.test_leaps import workloads

STEP_NS = 1_000_000
CHUNK_TOKENS = 8
CHUNK_BYTES = 8
"""With a byte a token, the times below can be followed by hand: a chunk takes 1,000 ns to copy in,
2,000 out.
"""
COPY_IN, COPY_OUT = TransferRate(bytes_per_s=8e6), TransferRate(bytes_per_s=4e6)
SLOW = TransferRate(bytes_per_s=8e3, latency_ns=7)


def tier(name: str = "cpu", capacity_chunks: int | None = 100, **rest: Any) -> TierOptions:
    """A tier of so many chunks."""
    size = None if capacity_chunks is None else capacity_chunks * CHUNK_BYTES
    rates = {"read": COPY_IN, "write": COPY_OUT} if name == "cpu" else {"read": SLOW, "write": SLOW}
    return TierOptions(name=name, capacity_bytes=size, **(rates | rest))


def offloading(*tiers: TierOptions, prices: Any = None, **rest: Any) -> Cluster:
    """A cluster with those tiers; GPU blocks are not shared, so that only tiers are hit."""
    instance = {
        key: rest.pop(key)
        for key in ("num_blocks", "has_prefix_cache", "max_sequences", "num_instances")
        if key in rest
    }
    made = cluster(prices or constant_prices(STEP_NS), **({"has_prefix_cache": False} | instance))
    options = OffloadOptions(tiers=tiers, rules=OffloadSpec(chunk_tokens=CHUNK_TOKENS, **rest))
    return Cluster(
        prices=made.prices,
        num_blocks=made.num_blocks,
        instance=made.instance,
        num_instances=made.num_instances,
        offload=options,
        kv_bytes_per_token=1,
    )


def _twice(served_by: Cluster, prompt_tokens: int = 35) -> ServingRun:
    """The same prompt a second time, long after the first."""
    return serve_all(
        served_by,
        [
            request(0, 0, prompt_tokens, 1, content=5),
            request(1, 10**9, prompt_tokens, 1, content=5),
        ],
    )


def _ttft_ns(run: ServingRun) -> list[int]:
    return [round(ttft * 1e9) for ttft in run.recorder.ttft_s]


def test_stores_and_loads_run_inside_the_step() -> None:
    """In-process: four full chunks are copied out in the first step; the second request copies them
    in, and computes the rest.
    """
    run = _twice(offloading(tier()))
    assert _ttft_ns(run) == [STEP_NS + 4 * 2000, 4 * 1000 + STEP_NS]
    assert run.recorder.hit_tokens == {"gpu": 0, "cpu": 32}


def test_layers_are_pipelined() -> None:
    """Layer by layer, all but one layer's copies hide behind computation:

    (in + compute + (L − 1) · max) / L.
    """
    prices = odd_prices(window_tokens=None)
    plain, piped = (
        _twice(offloading(tier(), prices=prices)),
        _twice(offloading(tier(), prices=prices, is_layerwise=True)),
    )
    copy_ns = 4 * 1000
    compute_ns = _ttft_ns(plain)[1] - copy_ns
    expected = (compute_ns + copy_ns + 6 * max(compute_ns, copy_ns)) / 7
    assert _ttft_ns(piped)[1] == pytest.approx(expected, abs=2)


def test_a_prompt_found_whole_computes_its_last_token() -> None:
    """Four whole chunks, all found: one step is left, for the last token."""
    run = _twice(offloading(tier()), prompt_tokens=32)
    assert _ttft_ns(run)[1] == 4 * 1000 + STEP_NS and run.recorder.hit_tokens["cpu"] == 32


def test_little_is_not_retrieved() -> None:
    """Below min_retrieve_tokens nothing is loaded."""
    assert _ttft_ns(_twice(offloading(tier(), min_retrieve_tokens=33)))[1] == STEP_NS


def test_what_is_on_the_gpu_is_not_loaded() -> None:
    """Only chunks beyond the blocks that the GPU still holds are loaded: the last, half full, had
    no key there.
    """
    run = _twice(offloading(tier(), has_prefix_cache=True))
    assert run.recorder.hit_tokens == {"gpu": 32} and _ttft_ns(run)[1] == STEP_NS


def test_a_deep_hit_is_read_and_promoted() -> None:
    """Host memory of one chunk: the rest comes from disk, 1 ms and 7 ns a chunk, before the copies;
    then the step.
    """
    run = _twice(offloading(tier(capacity_chunks=1), tier("disk")))
    assert run.recorder.hit_tokens == {"gpu": 0, "cpu": 8, "disk": 24}
    assert _ttft_ns(run)[1] == 3 * (10**6 + 7) + 4 * 1000 + STEP_NS


def test_prefetch_hides_behind_the_queue() -> None:
    """While a request waits for its turn, what it needs moves to host memory: it then only copies
    it in.
    """
    ahead, late = request(2, 10**9, 1, 10, content=6), request(3, 10**9, 35, 1, content=5)
    rows = [request(0, 0, 35, 1, content=5), request(1, 10**8, 35, 1, content=7), ahead, late]
    tiers = (tier(capacity_chunks=4), tier("disk"))
    plain = serve_all(offloading(*tiers, max_sequences=1), rows)
    fetched = serve_all(offloading(*tiers, max_sequences=1, prefetches=True), rows)
    assert _ttft_ns(plain)[-1] == 10 * STEP_NS + 4 * (10**6 + 7) + 4 * 1000 + STEP_NS
    assert _ttft_ns(fetched)[-1] == 10 * STEP_NS + 4 * 1000 + STEP_NS
    assert fetched.recorder.hit_tokens["disk"] == 32


def test_loading_or_computing() -> None:
    """Where reading the disk takes longer than computing, the prompt is computed; from host memory
    it is loaded.
    """
    slow = _twice(
        offloading(
            tier(capacity_chunks=1), tier("disk"), prices=odd_prices(), loading=Loading.CHEAPER
        )
    )
    assert "disk" not in slow.recorder.hit_tokens
    dear = _twice(
        offloading(
            tier(read=TransferRate(bytes_per_s=1.0)), prices=odd_prices(), loading=Loading.CHEAPER
        )
    )
    assert dear.recorder.hit_tokens == {"gpu": 0}
    cheap = _twice(
        offloading(
            tier(read=TransferRate(bytes_per_s=1e12)), prices=odd_prices(), loading=Loading.CHEAPER
        )
    )
    assert cheap.recorder.hit_tokens == {"gpu": 0, "cpu": 32}


def test_compression_takes_fewer_bytes_and_time_to_decode() -> None:
    """Half the bytes and a codec as fast as the link: a chunk takes half its time on the way, and
    all of it to decode.
    """
    packed = tier(compression=Compression(factor=2, encode_bytes_per_s=4e6, decode_bytes_per_s=8e6))
    run = _twice(offloading(packed))
    assert _ttft_ns(run) == [STEP_NS + 4 * 3000, 4 * 1500 + STEP_NS]
    assert run.metrics.tiers[0].held_bytes == 4 * CHUNK_BYTES // 2


def test_the_server_works_beside_the_steps() -> None:
    """Server: stores cost the first request nothing; the second waits for its load, while another
    keeps decoding.
    """
    served_by = offloading(tier(), mode=Mode.SERVER)
    busy = request(1, 10**9 - 10, 1, 30, content=6)
    run = serve_all(
        served_by, [request(0, 0, 35, 1, content=5), busy, request(2, 10**9, 35, 1, content=5)]
    )
    assert _ttft_ns(run)[0] == STEP_NS
    assert run.recorder.hit_tokens["cpu"] == 32
    alone = _twice(offloading(tier(), mode=Mode.SERVER))
    assert _ttft_ns(alone) == [STEP_NS, 4 * 1000 + STEP_NS]


def test_the_server_sweeps_above_the_watermark() -> None:
    """Ten chunks of twelve are above 0.8: after a second a fifth of what is held has left."""
    served_by = offloading(tier(capacity_chunks=12), mode=Mode.SERVER)
    run = serve_all(served_by, [request(0, 0, 80, 1, content=5), request(1, 3 * 10**9, 1, 1)])
    assert (
        run.metrics.tiers[0].evicted_bytes == 2 * CHUNK_BYTES
        and run.metrics.tiers[0].held_bytes == 8 * CHUNK_BYTES
    )


def test_tiers_may_be_shared() -> None:
    """What one instance stored, another finds, where the tier belongs to all."""
    rows = [
        request(0, 0, 35, 40, content=5),
        request(1, 0, 35, 40, content=6),
        request(2, 10**6 * 20, 35, 1, content=5),
    ]
    shared = serve_all(offloading(tier(), tier("remote", is_shared=True), num_instances=2), rows)
    assert set(shared.recorder.hit_tokens) <= {"gpu", "cpu", "remote"}
    assert shared.metrics.tiers[1].stored_bytes == 8 * CHUNK_BYTES


@pytest.mark.parametrize(
    ("tiers", "rules", "message"),
    [
        ((), {}, "at least one tier"),
        ((tier(), tier()), {}, "a name of its own"),
        ((tier(is_shared=True),), {}, "belongs to one instance"),
        ((tier(),), {"mode": Mode.SERVER, "is_layerwise": True}, "is for mode in-process"),
        ((tier(),), {"retains_deep_hits": True}, "is for mode server"),
    ],
)
def test_options_that_do_not_go_together(
    tiers: tuple[TierOptions, ...], rules: dict[str, Any], message: str
) -> None:
    """Each is refused in one line that says why."""
    with pytest.raises(InputError, match=message):
        OffloadOptions(tiers=tiers, rules=OffloadSpec(**rules))


def test_a_chunk_has_tokens() -> None:
    """None would be a prompt of chunks without end."""
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        OffloadSpec(chunk_tokens=0)


@settings(max_examples=60, deadline=None)
@given(requests=workloads(), capacity_chunks=st.integers(1, 12))
def test_one_pool_hits_what_kv_replay_hits(requests: list[Request], capacity_chunks: int) -> None:
    """One tier, requests one after the other, nothing on the GPU: the hit rate is that of the pool
    replayed without a clock.
    """
    apart = [
        Request(
            number=each.number,
            arrival_ns=each.number * 10**9,
            prompt=each.prompt,
            output_tokens=1,
            answer=each.answer,
        )
        for each in requests
    ]
    run = serve_all(
        offloading(tier(capacity_chunks=capacity_chunks), touch_order=TouchOrder.HEAD_FIRST), apart
    )
    [pool] = replay(
        apart,
        [Pool(capacity_bytes=capacity_chunks * CHUNK_BYTES)],
        block_tokens=CHUNK_TOKENS,
        bytes_per_token=1,
    )
    assert run.recorder.hit_tokens.get("cpu", 0) == pool.hit_tokens


MODES = st.sampled_from(
    [
        {},
        {"is_layerwise": True},
        {"prefetches": True},
        {"loading": Loading.CHEAPER},
        {"mode": Mode.SERVER},
        {"mode": Mode.SERVER, "retains_deep_hits": True, "loading": Loading.CHEAPER},
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    requests=workloads(),
    num_blocks=st.integers(40, 120),
    sizes=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    modes=MODES,
    instances=st.integers(1, 2),
)
def test_nothing_is_lost_or_made(
    requests: list[Request],
    num_blocks: int,
    sizes: tuple[int, int],
    modes: dict[str, Any],
    instances: int,
) -> None:
    """Whatever comes: every request ends, no tier exceeds its capacity, what was stored was evicted
    or is held, nothing stays pinned.
    """
    tiers = (
        tier(capacity_chunks=1 + sizes[0]),
        tier("disk", 1 + sizes[1]),
        tier("remote", None, is_shared=True),
    )
    instance = {"num_blocks": num_blocks, "has_prefix_cache": True, "num_instances": instances}
    run = serve_all(offloading(*tiers, prices=odd_prices(), **instance, **modes), requests)
    metrics = run.metrics
    assert metrics.num_requests + metrics.num_rejected_requests == len(requests)
    assert (
        run.recorder.output_tokens == sum(each.output_tokens for each in requests)
        or metrics.num_rejected_requests
    )
    for use in metrics.tiers:
        assert use.stored_bytes == use.evicted_bytes + use.held_bytes
        assert use.capacity_bytes is None or use.peak_bytes <= use.capacity_bytes
    found = sum(run.recorder.hit_tokens.values())
    assert 0 <= found <= run.recorder.prompt_tokens


@pytest.mark.slow
def test_one_pool_of_the_conversation_trace() -> None:
    """Mooncake's conversation trace, one request after the other, one tier of 64 GiB: the hit rate
    of LMCache's simulator, .0461.
    """
    requests = load_requests(str(shared_data("requests/mooncake-conversation.jsonl"))).requests()
    apart = (
        Request(
            number=each.number, arrival_ns=each.number * 10**9, prompt=each.prompt, output_tokens=1
        )
        for each in requests
    )
    at_once = TransferRate(bytes_per_s=1e18)
    host = TierOptions(name="cpu", capacity_bytes=64 * GIB, read=at_once, write=at_once)
    made = cluster(
        constant_prices(1, max_tokens=130_000),
        num_blocks=10_000,
        block_tokens=512,
        has_prefix_cache=False,
    )
    options = OffloadOptions(
        tiers=(host,),
        rules=OffloadSpec(
            chunk_tokens=512, bytes_per_token=131_072, touch_order=TouchOrder.HEAD_FIRST
        ),
    )
    run = serve_all(replace(made, offload=options), apart)
    assert run.metrics.kv_hit_rate["cpu"] == pytest.approx(0.046089, abs=5e-7)


@pytest.mark.parametrize("rate", [1e5, 3e6, 1e7, 3e7, 1e8, 1e9, 1e12])
def test_the_choice_is_the_better_of_both(rate: float) -> None:
    """A lone request, links of many speeds: loading what is cheaper takes no longer than loading
    always, nor than computing always.
    """
    link = tier(read=TransferRate(bytes_per_s=rate))
    ttft_ns = {
        loading: _ttft_ns(
            _twice(offloading(link, prices=odd_prices(), loading=loading), prompt_tokens=60)
        )[1]
        for loading in Loading
    }
    computed = _ttft_ns(_twice(cluster(odd_prices(), has_prefix_cache=False), prompt_tokens=60))[1]
    assert ttft_ns[Loading.CHEAPER] <= min(ttft_ns[Loading.ALWAYS], computed) + 1
