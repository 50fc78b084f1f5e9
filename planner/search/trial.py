"""One policy that is tried: what it starts from, and what its runs came to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sim.costs.memory import Infeasible, Residency
from sim.policies.policy import Policy
from sim.policies.problem import Problem
from sim.step.draws import mean_metrics
from sim.step.metrics import Metrics


@dataclass(eq=False)
class Trial:
    """One policy: where everything starts (or why nothing does), and its metrics on every draw so
    far, in order.

    ``offer`` is the number of the question that it is tried on. ``held_bytes`` is the most of
    weights, resident or in flight, on the GPU in the first run. ``sample`` is what its first tokens
    foretell of the first run.
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
        """Over the draws so far."""
        return mean_metrics(self.metrics)


def different(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials but those that do what an earlier one does: on the first draw, or in its
    first tokens, as far as times tell.

    What never acts costs as much to simulate as what does, and of equals the earlier is taken.
    """
    found: dict[tuple[object, ...], Trial] = {}
    for trial in trials:
        known = trial.metrics[0] if trial.metrics else trial.sample
        assert known is not None, "what has not run does nothing yet"
        ttft_s, end_s, busy_s = times_of(known)
        found.setdefault((bool(trial.metrics), ttft_s, end_s, *busy_s.items()), trial)
    return list(found.values())


def is_feasible(trial: Trial) -> bool:
    """Whether it has a placement."""
    return isinstance(trial.residency, Residency)


def times_of(metrics: Metrics) -> tuple[float, float, dict[str, float]]:
    """Times that can be read off a timeline."""
    return metrics.ttft_s, metrics.end_to_end_s, metrics.busy_s


def note(trial: Trial, outcome: "tuple[Metrics, int] | Infeasible") -> None:
    """Keep what came of the next draw."""
    if isinstance(outcome, Infeasible):
        trial.residency = outcome
    elif is_feasible(trial):
        metrics, held_bytes = outcome
        if not trial.metrics:
            trial.held_bytes = held_bytes
        trial.metrics.append(metrics)
