"""An instance that serves one request at a time is a queue, and queues have closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.serving import InstanceOptions
from tests.sim.serving.clusters import cluster, constant_prices, request, serve_all

STEP_NS = 1_000_000
NUM_REQUESTS, NUM_RUNS = 4000, 10
MEAN_TOKENS = 100


def _mean_wait_s(outputs: np.ndarray, load: float, generator: np.random.Generator) -> float:
    """Mean wait of one run with Poisson arrivals that keep the instance busy for that share of the
    time.
    """
    arrivals_ns = np.cumsum(
        generator.exponential(MEAN_TOKENS * STEP_NS / load, len(outputs))
    ).astype(int)
    alone = cluster(constant_prices(STEP_NS), max_sequences=1)
    requests = (
        request(number, int(at), 1, int(tokens))
        for number, (at, tokens) in enumerate(zip(arrivals_ns, outputs, strict=True))
    )
    return serve_all(alone, requests).metrics.queue_s.mean


def _confidence(values: list[float]) -> tuple[float, float]:
    """Mean of independent runs, and 99.9 % half-width of it (Student's t with 9 degrees of freedom:
    4.78).
    """
    return float(np.mean(values)), 4.78 * float(np.std(values, ddof=1)) / len(values) ** 0.5


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_constant_service_waits_as_m_d_1(load: float) -> None:
    """Answers of one length: the mean wait is that of M/D/1, load · S / (2 (1 − load))."""
    waits = [
        _mean_wait_s(np.full(NUM_REQUESTS, MEAN_TOKENS), load, np.random.default_rng(seed))
        for seed in range(NUM_RUNS)
    ]
    mean_s, half_width_s = _confidence(waits)
    theory_s = load * MEAN_TOKENS * STEP_NS / 1e9 / (2 * (1 - load))
    assert abs(mean_s - theory_s) < half_width_s < 0.2 * theory_s


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_geometric_service_waits_as_m_m_1(load: float) -> None:
    """Answers of geometric length: the mean wait is that of M/M/1, load · S / (1 − load), less half
    a step for whole steps.

    A geometric number of steps has E[N²] = (2 − p) / p², so Pollaczek–Khinchine gives M/M/1's wait
    times 1 − p / 2.
    """
    waits = []
    for seed in range(NUM_RUNS):
        generator = np.random.default_rng(seed)
        waits.append(
            _mean_wait_s(generator.geometric(1 / MEAN_TOKENS, NUM_REQUESTS), load, generator)
        )
    mean_s, half_width_s = _confidence(waits)
    theory_s = load * MEAN_TOKENS * STEP_NS / 1e9 / (1 - load) * (1 - 1 / MEAN_TOKENS / 2)
    assert abs(mean_s - theory_s) < half_width_s < 0.35 * theory_s


@given(st.integers(1, 400), st.integers(1, 12), st.integers(16, 64), st.integers(0, 10**9))
@settings(max_examples=40)
def test_an_idle_engine_answers_at_once(
    prompt_tokens: int, output_tokens: int, chunk_tokens: int, arrival_ns: int
) -> None:
    """One request, nobody else: a step for each chunk of the prompt, one for each further token."""
    alone = cluster(constant_prices(STEP_NS, max_tokens=chunk_tokens))
    metrics = serve_all(alone, [request(0, arrival_ns, prompt_tokens, output_tokens)]).metrics
    chunks = -(-prompt_tokens // chunk_tokens)
    assert metrics.queue_s.mean == 0
    assert metrics.ttft_s.mean == pytest.approx(chunks * STEP_NS / 1e9)
    assert metrics.end_to_end_s.mean == pytest.approx((chunks + output_tokens - 1) * STEP_NS / 1e9)
    if output_tokens == 1:
        assert metrics.tpot_s is None
    else:
        assert metrics.tpot_s is not None and metrics.tpot_s.mean == pytest.approx(STEP_NS / 1e9)


ROWS = st.lists(
    st.tuples(st.integers(0, 10 * STEP_NS), st.integers(1, 60), st.integers(1, 9)),
    min_size=1,
    max_size=12,
)


@given(ROWS, st.integers(1, 3), st.integers(1, 8))
@settings(max_examples=40)
def test_requests_are_conserved_and_time_goes_on(
    rows: list[tuple[int, int, int]], num_instances: int, max_sequences: int
) -> None:
    """Every request ends once, none before its own work is done, and the more instances the sooner
    the last; a request waits, gets its first token and ends, in that order.
    """
    rows = sorted(rows)
    requests = [request(number, *row) for number, row in enumerate(rows)]
    served = cluster(
        constant_prices(STEP_NS), max_sequences=max_sequences, num_instances=num_instances
    )
    metrics = serve_all(served, requests).metrics
    assert metrics.num_requests + metrics.num_rejected_requests == len(rows)
    assert metrics.num_rejected_requests == 0
    assert 0 <= metrics.queue_s.mean <= metrics.ttft_s.mean <= metrics.end_to_end_s.mean
    least_s = sum(tokens for _, _, tokens in rows) / len(rows) * STEP_NS / 1e9
    assert metrics.end_to_end_s.mean >= least_s * (1 - 1e-9)


@given(st.integers(1, 100), st.integers(1, 100))
def test_options_state_what_they_need(tokens: int, sequences: int) -> None:
    """A step that cannot hold all that decodes is refused."""
    if tokens >= sequences:
        assert InstanceOptions(max_step_tokens=tokens, max_sequences=sequences)
        return
    with pytest.raises(ValueError, match=r"max_step_tokens must be at least max_sequences"):
        InstanceOptions(max_step_tokens=tokens, max_sequences=sequences)
