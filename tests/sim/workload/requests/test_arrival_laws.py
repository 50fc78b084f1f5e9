"""Laws of arrivals: in order, at their rate, and as many times as fast as is said."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.workload.requests.arrivals import (
    at_speed,
    even_arrivals_ns,
    gamma_arrivals_ns,
    with_arrivals,
)
from sim.workload.requests.request import Request, Span

RATES = st.floats(1e-3, 1e4)
SEEDS = st.integers(0, 10**9)


def _request(number: int, arrival_ns: int) -> Request:
    prompt = (Span(content=number, num_tokens=1),)
    return Request(number=number, arrival_ns=arrival_ns, prompt=prompt, output_tokens=1)


@given(RATES, st.integers(1, 2000))
@settings(max_examples=60)
def test_even_arrivals_keep_their_rate(rate: float, count: int) -> None:
    """Number n comes after n gaps, to half a nanosecond, however many came before."""
    found = list(islice(even_arrivals_ns(rate), count))
    expected = np.arange(count) * 1e9 / rate
    assert np.abs(np.array(found, float) - expected).max() <= 0.5 + 1e-6 * expected[-1] * 1e-6
    assert found == sorted(found)


@given(RATES, st.floats(0.05, 50), SEEDS, st.integers(1, 300), st.floats(1.5, 20))
@settings(max_examples=40)
def test_random_arrivals_scale_with_their_rate(
    rate: float, shape: float, seed: int, count: int, factor: float
) -> None:
    """Ascending, the same for a seed, and of a rate that is so many times higher as many times
    sooner, to a nanosecond.
    """
    slow, again, fast = (
        list(islice(gamma_arrivals_ns(each, shape, np.random.default_rng(seed)), count))
        for each in (rate, rate, rate * factor)
    )
    assert slow == again == sorted(slow)
    assert np.allclose(np.array(fast) * factor, slow, rtol=1e-9, atol=factor)


@given(st.lists(st.integers(0, 10**12), max_size=20).map(sorted), st.floats(0.1, 100))
@settings(max_examples=60)
def test_a_speed_divides_every_time(arrivals: list[int], speed: float) -> None:
    """Prompts, answers and numbers stay; at speed 1 so do times."""
    requests = [_request(number, at) for number, at in enumerate(arrivals)]
    found = list(at_speed(requests, speed))
    for before, after in zip(requests, found, strict=True):
        assert after.arrival_ns == round(before.arrival_ns / speed)
        assert (after.number, after.prompt) == (before.number, before.prompt)
    assert list(at_speed(requests, 1.0)) == requests
    assert [each.arrival_ns for each in with_arrivals(requests, even_arrivals_ns(1.0))] == [
        number * 10**9 for number in range(len(requests))
    ]


@given(st.sampled_from([0.0, -1.0, float("inf"), float("nan"), -float("inf")]), RATES)
@settings(max_examples=20)
def test_what_is_no_rate_is_refused(wrong: float, rate: float) -> None:
    """In one line, for rates, shapes and speeds alike."""
    generator = np.random.default_rng(0)
    for make in (
        lambda: next(even_arrivals_ns(wrong)),
        lambda: next(gamma_arrivals_ns(wrong, 1.0, generator)),
        lambda: next(gamma_arrivals_ns(rate, wrong, generator)),
        lambda: list(at_speed([_request(0, 1)], wrong)),
    ):
        with pytest.raises(InputError, match="must be above 0, got") as caught:
            make()
        assert "\n" not in str(caught.value)
