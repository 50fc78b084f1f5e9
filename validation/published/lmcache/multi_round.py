"""Multi-round question answering: host memory for KV against the GPU's prefix cache alone.

Three models share one set of parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hwprofiles.units import GB
from sim.serving import ClosedLoop, Cluster, ServingMetrics
from sim.serving.tier import TierSpec
from sim.workload.requests.multi_round import MultiRound
from validation.published.lmcache.rows import rows
from validation.published.lmcache.serving import cluster_of, fewest_gpus, metrics_of
from validation.published.published_row import cell_of
from validation.published.reproduction import Cell, Table

HISTORY_TOKENS = {"llama-3.1-8b": 19_000, "llama-3.3-70b": 9_000, "qwen2.5-72b": 9_000}
"""Tokens of the history. With the system prompt, a query has the paper's 20,000 or 10,000
tokens.
"""
NUM_USERS = 60
NUM_ROUNDS = 20
SYSTEM_TOKENS = 1_000
QUESTION_TOKENS = 20
ANSWER_TOKENS = 100
REQUESTS_PER_USER = NUM_ROUNDS
"""Requests a user, as many as one conversation has, so that users at all stages are served."""
HOST = TierSpec(name="cpu", capacity_bytes=500 * GB)
LOADS = (0.5, 0.8)
"""Loads at which the two are compared, as shares of the baseline's highest throughput."""
SATURATING_REQUESTS_PER_S = 1000.0
# An interval from a rate to its double shrinks to an eighth of that rate.
NUM_HALVINGS = 3

ASSUMPTIONS = (
    "Not published: rounds, rates, size of the GPU's cache, number of GPUs. Taken: rounds, system prompt and answers of LMBenchmark's "
    f"long-input preset ({NUM_ROUNDS}, {SYSTEM_TOKENS:,}, {ANSWER_TOKENS}), {NUM_USERS} users, rates at "
    f"{' and '.join(f'{load:.0%}' for load in LOADS)} of what the baseline can serve at all, the fewest GPUs whose KV holds one full "
    "context, 500 GB of host memory. The baseline is the same engine with the GPU's prefix cache alone; the paper's strongest may be "
    "another. No time is counted for the engine's own software."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """The gain of one model through host memory.

    By load, ``ttft_ratios`` say how many times shorter TTFT is, and ``tpot_reductions`` by which
    share TPOT falls. ``throughput_ratio`` is the request rate over the baseline's, at equal TTFT.
    """

    model: str
    num_gpus: int
    ttft_ratios: tuple[float, ...]
    tpot_reductions: tuple[float, ...]
    throughput_ratio: float


def gains() -> tuple[Gain, ...]:
    """Return the gains of the three models."""
    return tuple(_gain(model) for model in HISTORY_TOKENS)


def multi_round_table(found: Sequence[Gain]) -> Table:
    """Return the ends of the published ranges beside the simulated ones."""
    values = {
        "ttft_ratio": {
            f"{gain.model} at {load:.0%}": ratio
            for gain in found
            for load, ratio in zip(LOADS, gain.ttft_ratios, strict=True)
        },
        "throughput_ratio": {gain.model: gain.throughput_ratio for gain in found},
        "itl_reduction_percent": {
            f"{gain.model} at {load:.0%}": 100 * share
            for gain in found
            for load, share in zip(LOADS, gain.tpot_reductions, strict=True)
        },
    }
    return Table(
        name="multi_round",
        title="Multi-round question answering on 8x H100: KV in host memory against the GPU's prefix cache",
        assumptions=ASSUMPTIONS,
        cells=tuple(
            _cell(row.quantity, values[row.quantity], number)
            for number, row in enumerate(rows("multi_round"))
        ),
    )


def _cell(quantity: str, values: dict[str, float], number: int) -> Cell:
    row = rows("multi_round")[number]
    # The paper gives the two ends of a range over set-ups that it does not list.
    end = min if row.system == "least" else max
    note = "an end of a range over set-ups that are not listed"
    return cell_of(row, end(values.values()), note=note, comparisons=values)


def _gain(model: str) -> Gain:
    num_gpus = fewest_gpus(model)
    alone = cluster_of(model, num_gpus)
    offloading = cluster_of(model, num_gpus, [HOST])
    # Far more requests than it can serve: what it completes is what it can.
    most_per_s = served(alone, model, SATURATING_REQUESTS_PER_S).request_throughput_per_s
    before = [served(alone, model, load * most_per_s) for load in LOADS]
    after = [served(offloading, model, load * most_per_s) for load in LOADS]
    return Gain(
        model=model,
        num_gpus=num_gpus,
        ttft_ratios=tuple(
            old.ttft_s.mean / new.ttft_s.mean for old, new in zip(before, after, strict=True)
        ),
        tpot_reductions=tuple(
            1 - _tpot_s(new) / _tpot_s(old) for old, new in zip(before, after, strict=True)
        ),
        throughput_ratio=highest_rate(
            offloading, model, LOADS[-1] * most_per_s, before[-1].ttft_s.mean
        )
        / (LOADS[-1] * most_per_s),
    )


def highest_rate(cluster: Cluster, model: str, rate_per_s: float, ttft_s: float) -> float:
    """Return the highest rate of requests whose mean TTFT is at most ``ttft_s``.

    The search doubles the rate first, then halves the interval.
    """
    low = rate_per_s
    high = 2 * rate_per_s
    # Doubling first: how far tiers carry is not known, and each try is a whole run.
    while served(cluster, model, high).ttft_s.mean <= ttft_s:
        low = high
        high = 2 * high
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if served(cluster, model, middle).ttft_s.mean <= ttft_s
            else (low, middle)
        )
    return low


def served(cluster: Cluster, model: str, requests_per_s: float) -> ServingMetrics:
    """Return the metrics of the conversations at that rate of requests."""
    talks = MultiRound(
        num_users=NUM_USERS,
        num_rounds=NUM_ROUNDS,
        system_tokens=SYSTEM_TOKENS,
        history_tokens=HISTORY_TOKENS[model],
        question_tokens=QUESTION_TOKENS,
        answer_tokens=ANSWER_TOKENS,
        requests_per_s=requests_per_s,
        num_warmup_users=NUM_USERS,
    )
    num_requests = NUM_USERS * (1 + REQUESTS_PER_USER)
    return metrics_of(
        cluster,
        ClosedLoop(
            sessions=talks.sessions(), num_requests=num_requests, num_warmup_requests=NUM_USERS
        ),
    )


def _tpot_s(metrics: ServingMetrics) -> float:
    assert metrics.tpot_s is not None
    return metrics.tpot_s.mean
