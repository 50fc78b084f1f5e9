"""Several independent draws of a scenario's routing: the same run under other tokens, and the mean
over all.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from sim.costs.memory import Infeasible
from sim.routing.recorded import RecordedRouting
from sim.step.metrics import Metrics
from sim.step.simulate import Question, Run, Scenario, simulate

SEED_STEP = 7_919_000_003
"""The difference between the seeds of two draws.

It is so large that runs with seeds that people choose share no draw.
"""


def seed_of(seed: int, number: int) -> int:
    """The seed of that draw; the first, number 0, is the scenario's own."""
    return seed + number * SEED_STEP


def has_draws(question: Question) -> bool:
    """Return whether draws differ; a recorded trace is replayed as it is, so its draws do not."""
    return not isinstance(question.routing, RecordedRouting)


def simulate_draws(scenario: Scenario, num_draws: int) -> Run | Infeasible:
    """Return the run of the first draw, with its metrics averaged over all draws.

    Return Infeasible where ``simulate`` does.
    """
    first = simulate(scenario)
    if isinstance(first, Infeasible) or not has_draws(scenario):
        return first
    others = [
        simulate(replace(scenario, seed=seed_of(scenario.seed, number)))
        for number in range(1, num_draws)
    ]
    return replace(
        first,
        metrics=mean_metrics(
            [first.metrics, *(run.metrics for run in others if isinstance(run, Run))]
        ),
    )


def mean_metrics(runs: Sequence[Metrics]) -> Metrics:
    """Return the mean of every figure; the mean of whole numbers is rounded to a whole number.

    ``peak_gpu_memory_bytes`` is the maximum, not the mean. Rates are computed from the mean times.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    means: dict[str, Any] = {
        field.name: _mean([getattr(run, field.name) for run in runs]) for field in fields(Metrics)
    }
    means["peak_gpu_memory_bytes"] = max(run.peak_gpu_memory_bytes for run in runs)
    for rate, time in (("output_tokens_per_s", "end_to_end_s"), ("prefill_tokens_per_s", "ttft_s")):
        # A mean of rates would weigh fast draws more than their time.
        means[rate] = getattr(first, rate) * getattr(first, time) / means[time]
    return Metrics(**means)


def _mean(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    mean = sum(values) / len(values)
    # Whole numbers stay whole: a mean of bytes is still bytes.
    return round(mean) if isinstance(values[0], int) else mean
