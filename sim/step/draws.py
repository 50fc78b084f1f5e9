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
"""Between the seeds of two draws: far enough apart that the seeds which people choose do not share
any.
"""


def seed_of(seed: int, number: int) -> int:
    """The seed of that draw; the first, number 0, is the scenario's own."""
    return seed + number * SEED_STEP


def has_draws(question: Question) -> bool:
    """Whether draws differ: a recorded trace is replayed as it is."""
    return not isinstance(question.routing, RecordedRouting)


def simulate_draws(scenario: Scenario, num_draws: int) -> Run | Infeasible:
    """The first draw's run, its metrics the means over all draws.

    Infeasible as ``simulate`` says it.
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
    """The mean of every figure, whole numbers rounded; of peak memory the most.

    Rates are of the mean times.
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
