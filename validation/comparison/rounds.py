"""Run plans in interleaved rounds, each run between runs of one calibration plan.

The report compares predictions with measurements.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import kendalltau

from validation.backend.executed import ExecutedRun
from validation.backend.tier import Tier
from validation.comparison.compare import ErrorSummary, RunComparison, compare, summary_of
from validation.comparison.lane_costs import LaneCosts, fit_lane_costs, fit_scale
from validation.comparison.trial import PlanTrial

MOST_VARIATION_FRACTION = 0.12
"""Variation of calibration runs above which the machine is too noisy for a comparison."""


MOST_LOST_FRACTION = 0.05
"""Share of their working time that tasks may be without a core.

A run that loses more counts as preempted. Runs of llama.cpp count as undisturbed by the same share
(runtimes/llama_cpp/sample.py).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRun:
    """One run against three predictions.

    ``plain`` is the simulator alone. ``absolute`` adds lane costs fitted once, at the start;
    ``paired`` adds those of the calibration runs just before and after. ``lost_fraction`` is the
    largest share of time that the tasks of one of these three runs were without a core, by CPU
    time. The share is 0 where CPU time says nothing.
    """

    plain: RunComparison
    absolute: RunComparison
    paired: RunComparison
    lost_fraction: float = 0.0

    @property
    def is_preempted(self) -> bool:
        """Whether other processes took the cores of this run, or of its calibration runs."""
        return self.lost_fraction > MOST_LOST_FRACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanErrors:
    """A plan over all rounds. Errors are signed, and medians over its runs.

    ``noise_fraction`` is how far its runs are from their median. ``predicted_ns`` is the median of
    the absolute prediction.
    """

    name: str
    measured_ns: int
    predicted_ns: int
    plain_fraction: float
    absolute_fraction: float
    paired_fraction: float
    noise_fraction: float
    runs: tuple[PairedRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All plans. Summaries are over single runs; ``noise`` compares each run with its plan's
    median.

    ``kendall_tau`` compares the predicted (absolute) order of the plans with the measured order.
    Kendall's tau is None with one plan, or if all predictions or all measurements are alike.
    ``num_preempted`` runs were left out, of plans that have other runs.
    """

    plans: tuple[PlanErrors, ...]
    plain: ErrorSummary
    absolute: ErrorSummary
    paired: ErrorSummary
    noise: ErrorSummary
    calibration_variation_fraction: float
    kendall_tau: float | None
    num_preempted: int = 0

    @property
    def is_too_noisy(self) -> bool:
        """Whether calibration runs differ so much that the errors say nothing."""
        return self.calibration_variation_fraction > MOST_VARIATION_FRACTION

    def regret_fraction(self, name: str) -> float:
        """Return how much slower the plan of that name measured than the best that was run.

        The regret is 0 if the plan is the best.
        """
        measured_ns = {plan.name: plan.measured_ns for plan in self.plans}
        return measured_ns[name] / min(measured_ns.values()) - 1


def run_rounds(
    trials: tuple[PlanTrial, ...],
    calibration: PlanTrial,
    num_rounds: int,
    on_run: Callable[[str], None] | None = None,
    *,
    is_time_left: Callable[[], bool] = lambda: True,
    stops_when_noisy: bool = False,
) -> Report:
    """Run every trial once a round, between two runs of the calibration plan.

    A first round warms up and does not count. No further run begins once ``is_time_left`` is false.
    Trials without a run by then are not reported, except that the first trial always gets one. With
    ``stops_when_noisy``, no further round begins once calibration runs differ too much.
    """
    # First runs find pages and kernels; none of them counts.
    for trial in (calibration, *trials):
        if is_time_left():
            trial.run()
    before = calibration.run()
    first = fitted(calibration, before)
    found: list[list[PairedRun]] = [[] for _ in trials]
    calibration_ns = [before.timeline.makespan_ns]
    for _ in range(num_rounds):
        for trial, runs in zip(trials, found, strict=True):
            # The plan gets one run, however late: without it there is nothing to report.
            if found[0] and not is_time_left():
                break
            executed = trial.run()
            after = calibration.run()
            calibration_ns.append(after.timeline.makespan_ns)
            compared = _compared(trial, executed, first, fitted(calibration, before, after))
            lost = _lost_fraction(trial.tier, before, executed, after)
            runs.append(replace(compared, lost_fraction=lost))
            # A calibration run serves both the trial before it and the trial after it.
            before = after
            if on_run is not None:
                on_run(trial.name)
        # A computer that is this noisy gives no answer later either.
        if stops_when_noisy and _variation(calibration_ns) > MOST_VARIATION_FRACTION:
            break
    plans = tuple(
        _plan_errors(trial.name, undisturbed(tuple(runs)))
        for trial, runs in zip(trials, found, strict=True)
        if runs
    )
    left_out = sum(map(len, found)) - sum(len(plan.runs) for plan in plans)
    return replace(_report(plans, _variation(calibration_ns)), num_preempted=left_out)


def fitted(calibration: PlanTrial, *runs: ExecutedRun) -> LaneCosts:
    """Return the costs of lanes that those runs of the calibration plan show.

    If operations are real, the costs contain scales on their prices, too.
    """
    costs = fit_lane_costs(*runs)
    # Paced operations last their price by construction, so there is nothing to scale.
    if costs.is_paced.all():
        return costs
    return fit_scale(costs, runs, tuple(calibration.predict(run).on_lanes(costs) for run in runs))


def _variation(calibration_ns: list[int]) -> float:
    """Return the standard deviation over the mean."""
    return float(np.std(calibration_ns) / np.mean(calibration_ns))


def _compared(
    trial: PlanTrial, executed: ExecutedRun, first: LaneCosts, adjacent: LaneCosts
) -> PairedRun:
    prediction = trial.predict(executed)
    return PairedRun(
        plain=compare(executed.timeline, prediction.plain()),
        absolute=compare(executed.timeline, prediction.on_lanes(first)),
        paired=compare(executed.timeline, prediction.on_lanes(adjacent)),
    )


def _lost_fraction(tier: Tier, *runs: ExecutedRun) -> float:
    """Return the largest share of time that the tasks of one run were without a core.

    Only the tier of real operations on the CPU has threads that are to compute all the time; for
    other tiers the share is 0.
    """
    return max(run.lost_fraction for run in runs) if tier is Tier.CPU else 0.0


def undisturbed(runs: tuple[PairedRun, ...]) -> tuple[PairedRun, ...]:
    """Return the runs from which no other process took cores, or all runs if there is none."""
    return tuple(run for run in runs if not run.is_preempted) or runs


def _plan_errors(name: str, runs: tuple[PairedRun, ...]) -> PlanErrors:
    measured_ns = np.array([run.plain.measured_ns for run in runs])
    middle_ns = float(np.median(measured_ns))
    return PlanErrors(
        name=name,
        measured_ns=round(middle_ns),
        predicted_ns=round(float(np.median([run.absolute.predicted_ns for run in runs]))),
        plain_fraction=float(np.median([run.plain.error_fraction for run in runs])),
        absolute_fraction=float(np.median([run.absolute.error_fraction for run in runs])),
        paired_fraction=float(np.median([run.paired.error_fraction for run in runs])),
        noise_fraction=float(np.median(np.abs(measured_ns / middle_ns - 1))),
        runs=runs,
    )


def _report(plans: tuple[PlanErrors, ...], variation_fraction: float) -> Report:
    runs = [run for plan in plans for run in plan.runs]
    noise = [run.plain.measured_ns / plan.measured_ns - 1 for plan in plans for run in plan.runs]
    return Report(
        plans=plans,
        plain=summary_of(np.array([run.plain.error_fraction for run in runs])),
        absolute=summary_of(np.array([run.absolute.error_fraction for run in runs])),
        paired=summary_of(np.array([run.paired.error_fraction for run in runs])),
        noise=summary_of(np.array(noise)),
        calibration_variation_fraction=variation_fraction,
        kendall_tau=kendall_tau_of(plans),
    )


def kendall_tau_of(plans: tuple[PlanErrors, ...]) -> float | None:
    """Return Kendall's tau of the predicted and the measured order; None if one has no order."""
    if len(plans) < 2:
        return None
    predicted_ns = [plan.predicted_ns for plan in plans]
    measured_ns = [plan.measured_ns for plan in plans]
    # Where all are alike there is no order to compare, and the statistic is no number.
    if len(set(predicted_ns)) < 2 or len(set(measured_ns)) < 2:
        return None
    return float(kendalltau(predicted_ns, measured_ns).statistic)
