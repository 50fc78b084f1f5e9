"""When requests arrive: drawn from a process, evenly spaced, or a trace's own times run faster or
slower.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from hwprofiles import InputError
from hwprofiles.limits import MAX_TIME_S
from hwprofiles.units import NS_PER_S
from sim.workload.requests.request import Request

DRAWS = 1024
"""Gaps drawn at a time."""


def gamma_arrivals_ns(
    requests_per_s: float, shape: float, generator: np.random.Generator
) -> Iterator[int]:
    """Yield arrivals without end, in ns, whose gaps are gamma-distributed around 1 /
    requests_per_s.

    The gaps' coefficient of variation is 1 / sqrt(shape). A shape of 1 is Poisson; with a smaller
    one requests come in bursts, with a larger one more evenly (``--burstiness`` of vLLM's
    benchmark). Raises InputError for a rate or a shape that is not above 0.
    """
    _check_rate(requests_per_s)
    if not 0 < shape < float("inf"):
        raise InputError(f"the shape of gamma arrivals must be above 0, got {shape:g}")
    now_ns = 0.0
    while True:
        for gap in generator.gamma(shape, 1.0 / (shape * requests_per_s), DRAWS).tolist():
            # Summed before rounding: rounded gaps would let the rate drift over a long run.
            now_ns += gap * NS_PER_S
            yield round(now_ns)


def poisson_arrivals_ns(requests_per_s: float, generator: np.random.Generator) -> Iterator[int]:
    """Yield arrivals without end, in ns, whose gaps are exponential.

    Raises InputError for a rate that is not above 0.
    """
    return gamma_arrivals_ns(requests_per_s, 1.0, generator)


def even_arrivals_ns(requests_per_s: float) -> Iterator[int]:
    """Yield arrivals without end, in ns, evenly spaced from time 0 on.

    Raises InputError for a rate that is not above 0.
    """
    _check_rate(requests_per_s)
    for number in count():
        # From the number, not from the arrival before: no rounding adds up.
        yield round(number * NS_PER_S / requests_per_s)


def with_arrivals(requests: Iterable[Request], arrivals_ns: Iterator[int]) -> Iterator[Request]:
    """Yield the requests in their order, each at the next of those times."""
    for request, arrival_ns in zip(requests, arrivals_ns, strict=False):
        yield replace(request, arrival_ns=_in_range(arrival_ns))


def at_speed(requests: Iterable[Request], speed: float) -> Iterator[Request]:
    """The requests at their own times divided by ``speed``.

    Raises InputError for a speed that is not above 0.
    """
    if not 0 < speed < float("inf"):
        raise InputError(f"the speed of a trace must be above 0, got {speed:g}")
    for request in requests:
        yield replace(request, arrival_ns=_in_range(round(request.arrival_ns / speed)))


def _in_range(arrival_ns: int) -> int:
    """Return the time. Raises InputError for a time that no run reaches."""
    if arrival_ns > MAX_TIME_S * NS_PER_S:
        raise InputError(
            f"a request arrives after {arrival_ns / NS_PER_S:,.0f} s, at most {MAX_TIME_S:,} s are simulated"
        )
    return arrival_ns


def _check_rate(requests_per_s: float) -> None:
    if not 0 < requests_per_s < float("inf"):
        raise InputError(f"requests_per_s must be above 0, got {requests_per_s:g}")
