"""Prefill and decode apart: what a transfer costs, who waits for whom, and that nothing is lost."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, load_machine
from sim.model.library import load_model
from sim.serving import Balancing, Cluster, Disaggregation, InstanceOptions, ServingSetting
from sim.serving.link import TransferRate
from sim.workload.requests.request import Request
from tests.sim.serving.clusters import cluster, constant_prices, odd_prices, request, serve_all
from tests.sim.serving.test_leaps import workloads

STEP_NS = 1_000_000
LINK = TransferRate(bytes_per_s=4e3, latency_ns=11)
"""A chunk of 8 tokens at a byte each takes 2 ms and 11 ns."""
CHUNK_NS = 2_000_011


def apart(
    prices: Any = None,
    *,
    num_prefill: int = 1,
    num_decode: int = 1,
    buffer_bytes: int | None = None,
    **instance: Any,
) -> Cluster:
    """Instances that prefill and instances that decode."""
    parts = Disaggregation(
        num_prefill=num_prefill,
        num_decode=num_decode,
        link=LINK,
        chunk_tokens=8,
        buffer_bytes=buffer_bytes,
    )
    made = cluster(
        prices or constant_prices(STEP_NS), num_instances=num_prefill + num_decode, **instance
    )
    return Cluster(
        prices=made.prices,
        num_blocks=made.num_blocks,
        instance=made.instance,
        num_instances=made.num_instances,
        disaggregation=parts,
        kv_bytes_per_token=1,
    )


def test_the_first_token_follows_the_transfer() -> None:
    """A step of prefill, five chunks one after the other (the last is not full), a step for the
    last token; then steps alone.
    """
    run = serve_all(apart(), [request(0, 0, 35, 4)])
    transfer_ns = 4 * CHUNK_NS + 750_000 + 11
    assert run.recorder.ttft_s[0] == pytest.approx((2 * STEP_NS + transfer_ns) / 1e9, abs=2e-9)
    assert run.recorder.end_to_end_s[0] - run.recorder.ttft_s[0] == pytest.approx(
        3 * STEP_NS / 1e9, abs=1e-9
    )


def test_chunks_leave_while_later_ones_are_computed() -> None:
    """A prompt of four steps: chunks leave after each, and the link, the slower, is busy from the
    first step's end on.
    """
    run = serve_all(apart(constant_prices(STEP_NS, max_tokens=16)), [request(0, 0, 64, 1)])
    assert run.recorder.ttft_s[0] == pytest.approx(
        (STEP_NS + 8 * CHUNK_NS + STEP_NS) / 1e9, abs=1e-8
    )


def test_decoding_is_not_disturbed() -> None:
    """While long prompts come, tokens of a running answer keep their pace: steps of prefill are
    taken elsewhere.
    """
    rows = [
        request(0, 0, 8, 60),
        *(request(number, number * 3000, 60, 1) for number in range(1, 6)),
    ]
    slow = odd_prices(window_tokens=None)
    together = serve_all(cluster(slow), rows)
    divided = serve_all(apart(slow), rows)
    assert together.metrics.tpot_s is not None and divided.metrics.tpot_s is not None
    assert divided.metrics.tpot_s.p99 < together.metrics.tpot_s.p99


def test_a_full_buffer_stalls_the_prefill() -> None:
    """With blocks for one sequence at the decoder and a buffer for one prompt, the fourth prompt
    waits for the first answer.
    """
    rows = [request(number, 0, 32, 40) for number in range(4)]
    instance = {"max_sequences": 1}
    roomy, tight = (
        serve_all(apart(**instance), rows),
        serve_all(apart(buffer_bytes=40, **instance), rows),
    )
    assert roomy.recorder.queue_s[3] < 0.01 and tight.recorder.queue_s[3] > 40 * STEP_NS / 1e9
    assert tight.metrics.num_requests == 4


def test_what_exceeds_the_buffer_is_turned_away() -> None:
    """A prompt of more bytes than the buffer could never be handed over."""
    run = serve_all(apart(buffer_bytes=40), [request(0, 0, 41, 2), request(1, 0, 40, 2)])
    assert (run.metrics.num_requests, run.metrics.num_rejected_requests) == (1, 1)


@settings(max_examples=80, deadline=None)
@given(
    requests=workloads(),
    num_blocks=st.integers(40, 120),
    counts=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    buffer_bytes=st.sampled_from([None, 70, 300]),
)
def test_every_request_ends(
    requests: list[Request], num_blocks: int, counts: tuple[int, int], buffer_bytes: int | None
) -> None:
    """However few blocks and however small the buffer: all are answered in full or turned away, and
    every block is freed.
    """
    served_by = apart(
        odd_prices(),
        num_prefill=counts[0],
        num_decode=counts[1],
        buffer_bytes=buffer_bytes,
        num_blocks=num_blocks,
    )
    run = serve_all(served_by, requests)
    assert run.metrics.num_requests + run.metrics.num_rejected_requests == len(requests)
    if not run.metrics.num_rejected_requests:
        assert run.recorder.output_tokens == sum(each.output_tokens for each in requests)


def test_routing_by_cache_goes_where_the_prefix_is() -> None:
    """Two conversations, two instances: each goes on where its KV is, so that all but the newest
    tokens are found.
    """
    rounds = [
        request(number, number * 10**9, 20 + 8 * (number // 2), 1, content=number % 2)
        for number in range(10)
    ]
    served_by = cluster(constant_prices(STEP_NS), num_instances=2)
    by_cache = serve_all(replace(served_by, balancing=Balancing.CACHE_AND_LOAD), rounds)
    assert by_cache.recorder.hit_tokens["gpu"] == sum(each.prompt_tokens - 8 for each in rounds[2:])


def test_numbers_must_add_up() -> None:
    """Instances that neither prefill nor decode are a mistake."""
    parts = Disaggregation(num_prefill=2, num_decode=1, link=LINK)
    machine = load_machine("fmoe-6x3090")
    with pytest.raises(InputError, match=r"must be num_instances, got 2 \+ 1 and 4"):
        ServingSetting(
            machine=machine,
            model=load_model("mixtral-8x7b"),
            instance=InstanceOptions(),
            num_instances=4,
            disaggregation=parts,
        )
