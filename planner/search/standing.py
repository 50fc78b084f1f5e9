"""How a trial stands in a search: what it is worth, and whether it may become the plan."""

from statistics import mean

from planner.search.objectives import Goal
from planner.search.ties import half_width, is_tied
from planner.search.trial import Trial
from sim.costs.cards import gpu_bytes
from sim.costs.memory import Residency
from sim.step.draws import mean_metrics
from sim.step.metrics import Metrics
from sim.step.simulate import Question

PRECISE = 0.0015
"""Where the number of draws is left open, a round whose best is known to within this fraction (95 %
confidence) is the last.
"""


def mean_of(trial: Trial, num_draws: int) -> Metrics:
    """The means over a trial's first draws."""
    return mean_metrics(trial.metrics[:num_draws])


def goal_time(goal: Goal, metrics: Metrics) -> float:
    """Return what the goal minimises, as a time: of a rate, its inverse."""
    return as_time(goal.score(metrics))


def as_time(score: float) -> float:
    """Return a score as a time: of a rate, which is negative, its inverse."""
    return -1 / score if score < 0 else score


def is_within(goal: Goal, rank: tuple[float, float], best: Metrics, fraction: float) -> bool:
    """Whether a rank is worse than the best's by at most that fraction."""
    excess_s, score = rank
    least_s, least = goal.rank(best)
    ttft_s = fraction * max(best.ttft_s, goal.max_ttft_s or 0.0)
    return excess_s <= least_s + ttft_s and (least_s > 0 or score <= least + fraction * abs(least))


def overflows(trial: Trial) -> bool:
    """Whether a run of the trial exceeded GPU memory: a named system may set aside less than it
    needs.
    """
    room = gpu_bytes(trial.problem.machine, trial.problem.split)
    known = trial.metrics if trial.sample is None else [*trial.metrics, trial.sample]
    return any(metrics.peak_gpu_memory_bytes > room for metrics in known)


def is_allowed(question: Question, trial: Trial, goal: Goal) -> bool:
    """Whether the trial may become the plan.

    The trial fits, knows no future, changes no token (unless that is allowed), and has as many
    experts a layer as asked for. Its CPU runs no expert that the GPU holds: no runtime does that.
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


def is_precise(goal: Goal, trial: Trial) -> bool:
    """Whether a trial's mean time is known to within PRECISE, by the draws that it has met."""
    times = [goal_time(goal, metrics) for metrics in trial.metrics]
    width = half_width(times)
    return width is not None and width <= PRECISE * mean(times)


def are_tied(goal: Goal, trial: Trial, best: Trial) -> bool:
    """Whether the draws do not tell a trial from the best, and it misses no constraint by more."""
    own, its = ([goal_time(goal, metrics) for metrics in each.metrics] for each in (trial, best))
    misses = goal.excess_s(trial.mean) > goal.excess_s(best.mean)
    return trial is best or (not misses and is_tied(own, its))
