"""One policy that is tried: its residency at the start, and the outcomes of its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sim.costs.memory import Infeasible, Residency
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.draws import mean_metrics
from sim.step.metrics import Metrics


@dataclass(eq=False)
class Trial:
    """One policy, with its residency at the start (or why it does not fit), and its metrics so far.

    There are metrics for every draw so far, in order. ``offer`` is the number of the question that
    it is tried on. ``held_bytes`` is the most of weights, resident or in flight, on the GPU in the
    first run. ``sample`` is what its first tokens foretell of the first run.
    """

    policy: Policy
    is_named: bool
    problem: Problem
    residency: Residency | Infeasible
    metrics: list[Metrics] = field(default_factory=list)
    held_bytes: int = 0
    offer: int = 0
    sample: Metrics | None = None

    @property
    def mean(self) -> Metrics:
        """The mean of the metrics over the draws so far."""
        return mean_metrics(self.metrics)


def different(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials without those that do what an earlier one does.

    Equal times on the first draw, or in the first tokens, show that two do the same. A part that
    never acts costs as much to simulate as one that does, and of equals the earlier is taken.
    """
    found: dict[tuple[object, ...], Trial] = {}
    for trial in trials:
        known = trial.metrics[0] if trial.metrics else trial.sample
        assert known is not None, "what has not run does nothing yet"
        ttft_s, end_s, busy_s = times_of(known)
        found.setdefault((bool(trial.metrics), ttft_s, end_s, *busy_s.items()), trial)
    return list(found.values())


def is_feasible(trial: Trial) -> bool:
    """Whether the trial has a placement."""
    return isinstance(trial.residency, Residency)


def times_of(metrics: Metrics) -> tuple[float, float, dict[str, float]]:
    """Return the times to the first token and to the end, and each resource's busy time, in
    seconds.
    """
    return metrics.ttft_s, metrics.end_to_end_s, metrics.busy_s


def note(trial: Trial, outcome: "tuple[Metrics, int] | Infeasible") -> None:
    """Add the outcome of the next draw to the trial."""
    if isinstance(outcome, Infeasible):
        trial.residency = outcome
    elif is_feasible(trial):
        metrics, held_bytes = outcome
        if not trial.metrics:
            trial.held_bytes = held_bytes
        trial.metrics.append(metrics)
