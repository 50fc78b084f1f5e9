"""An instance that serves one request at a time is a queue, and queues have closed forms."""

import numpy as np
import pytest

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


def test_an_idle_engine_answers_at_once() -> None:
    """One request, nobody else: a step for the prompt, one for each further token."""
    metrics = serve_all(cluster(constant_prices(STEP_NS)), [request(0, 5, 8, 11)]).metrics
    assert (metrics.queue_s.mean, metrics.ttft_s.mean, metrics.end_to_end_s.mean) == (
        0,
        0.001,
        pytest.approx(0.011),
    )
    assert metrics.tpot_s is not None and metrics.tpot_s.mean == pytest.approx(0.001)


def test_long_prompts_are_cut_into_chunks() -> None:
    """A prompt of three and a half chunks takes four steps."""
    metrics = serve_all(
        cluster(constant_prices(STEP_NS, max_tokens=64)), [request(0, 0, 64 * 3 + 32, 1)]
    ).metrics
    assert metrics.ttft_s.mean == pytest.approx(0.004) and metrics.tpot_s is None


def test_options_state_what_they_need() -> None:
    """A step that cannot hold all that decodes is refused."""
    with pytest.raises(ValueError, match=r"max_step_tokens must be at least max_sequences"):
        InstanceOptions(max_step_tokens=8, max_sequences=9)
