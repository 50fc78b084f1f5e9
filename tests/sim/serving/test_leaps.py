"""Many decode steps at once are exactly as many single ones."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.serving import ServingRun
from sim.serving.lines import sum_of_max
from sim.workload.requests.request import Request, Span
from tests.sim.serving.clusters import cluster, odd_prices, serve_all

NUMBERS = st.integers(0, 2**40)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=4), st.integers(0, 60))
def test_sum_of_the_largest_line(lines: list[tuple[int, int]], num_steps: int) -> None:
    """The closed form equals the sum, term by term."""
    assert sum_of_max(lines, num_steps) == sum(
        max(start + rise * step for start, rise in lines) for step in range(num_steps)
    )


def test_lines_that_meet_at_a_step() -> None:
    """Lines that are equal at a step, or cross between two, are summed right."""
    assert sum_of_max([(0, 3), (6, 0)], 4) == 6 + 6 + 6 + 9
    assert sum_of_max([(0, 2), (5, 0), (5, 0)], 4) == 5 + 5 + 5 + 6


@st.composite
def workloads(draw: st.DrawFn) -> list[Request]:
    """Requests in bursts, some of which share their beginnings, some of which others' prompts go on
    from.
    """
    arrival_ns, requests = 0, []
    for number in range(draw(st.integers(1, 14))):
        arrival_ns += draw(st.sampled_from([0, 0, 1, 997, 5_000, 400_000]))
        shared = draw(
            st.sampled_from(
                [(), (Span(content=1, num_tokens=9),), (Span(content=2, num_tokens=24),)]
            )
        )
        own = Span(content=100 + number, num_tokens=draw(st.integers(1, 40)))
        answer = 200 + number if draw(st.booleans()) else None
        output_tokens = draw(st.integers(1, 50))
        earlier = [each for each in requests if each.answer is not None]
        if earlier and draw(st.booleans()):
            before = draw(st.sampled_from(earlier))
            shared = (*before.prompt, Span(content=before.answer, num_tokens=before.output_tokens))
        requests.append(
            Request(
                number=number,
                arrival_ns=arrival_ns,
                prompt=(*shared, own),
                output_tokens=output_tokens,
                answer=answer,
            )
        )
    return requests


def _outcome(run: ServingRun) -> tuple[object, ...]:
    recorder = run.recorder
    times = (list(recorder.queue_s), list(recorder.ttft_s), list(recorder.end_to_end_s))
    return (
        times,
        recorder.hit_tokens,
        recorder.num_preemptions,
        recorder.num_rejected,
        recorder.last_end_ns,
        run.metrics.num_steps,
    )


@settings(max_examples=150, deadline=None)
@given(requests=workloads(), num_blocks=st.integers(40, 120), max_sequences=st.integers(1, 8))
def test_leaps_change_nothing(requests: list[Request], num_blocks: int, max_sequences: int) -> None:
    """Whatever arrives while steps are taken at once, and however little KV there is: every request
    is served as step by step.
    """
    sizes = {"num_blocks": num_blocks, "max_sequences": max_sequences}
    leaping = serve_all(cluster(odd_prices(), **sizes), requests)
    stepping = serve_all(cluster(odd_prices(), **sizes, max_leap_steps=1), requests)
    assert _outcome(leaping) == _outcome(stepping)


def test_leaps_save_events() -> None:
    """A lone request of a thousand tokens is a handful of events."""
    one = Request(
        number=0, arrival_ns=0, prompt=(Span(content=1, num_tokens=5),), output_tokens=1000
    )
    run = serve_all(cluster(odd_prices()), [one])
    assert run.metrics.num_steps == 1000 and run.metrics.num_events <= 4


@pytest.mark.parametrize("window_tokens", [None, 1, 8])
def test_decode_price_grows_with_context(window_tokens: int | None) -> None:
    """Steps one by one get no cheaper as contexts grow, and stop growing where every window is
    full.
    """
    prices = odd_prices(window_tokens=window_tokens)
    ticks = [
        prices.step(1, 1, seen, seen)
        for seen in ([part.seen(context) for part in prices.attention] for context in range(1, 90))
    ]
    assert all(later >= earlier for earlier, later in pairwise(ticks))
