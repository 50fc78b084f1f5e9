"""How a trial stands in a search: what it is worth, and whether it may become the plan."""

from planner.search.objectives import Goal
from planner.search.trials import Trial
from sim.costs.cards import gpu_bytes
from sim.costs.memory import Residency
from sim.step.draws import mean_metrics
from sim.step.metrics import Metrics
from sim.step.simulate import Question


def mean_of(trial: Trial, num_draws: int) -> Metrics:
    """The means over a trial's first draws."""
    return mean_metrics(trial.metrics[:num_draws])


def goal_time(goal: Goal, metrics: Metrics) -> float:
    """What is minimised, as a time: of a rate, its inverse."""
    return as_time(goal.score(metrics))


def as_time(score: float) -> float:
    """Return a score as a time: of a rate, which is negative, its inverse."""
    return -1 / score if score < 0 else score


def overflows(trial: Trial) -> bool:
    """Whether a run exceeded GPU memory: a named system may set aside less than it needs."""
    room = gpu_bytes(trial.problem.machine, trial.problem.split)
    return any(metrics.peak_gpu_memory_bytes > room for metrics in trial.metrics)


def is_allowed(question: Question, trial: Trial, goal: Goal) -> bool:
    """Whether the trial may become the plan: no token changed (unless that is allowed), and as many
    experts a layer as asked for.

    The CPU runs no expert that the GPU holds: no runtime does that.
    """
    policy = trial.policy
    # A rival may do it all the same, in order not to be made slower than its paper says.
    if policy.dispatch.spills_residents:
        return False
    if (
        policy.knows_future
        or (goal.is_lossless and not policy.is_lossless)
        or not isinstance(trial.residency, Residency)
    ):
        return False
    held = trial.residency.experts.sum(axis=1)[list(question.model.moe_layers)]
    return question.slots_per_layer is None or bool((held == question.slots_per_layer).all())
