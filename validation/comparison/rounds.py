"""Plans run in interleaved rounds, each run beside a run of one calibration plan, and how far predictions were from what was measured."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from validation.backend.executed import Executed
from validation.comparison.compare import Comparison, ErrorSummary, compare, summary_of
from validation.comparison.lane_costs import LaneCosts, fit_lane_costs
from validation.comparison.prediction import timed, timed_on_lanes
from validation.comparison.trial import Trial

MOST_VARIATION_FRACTION = 0.12
"""Calibration runs that differ by more than this say that the machine is too noisy to be compared with anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRun:
    """One run against three predictions.

    ``plain`` is the simulator alone; ``absolute`` adds lane costs fitted once, at the start; ``paired`` those of the adjacent calibration.
    """

    plain: Comparison
    absolute: Comparison
    paired: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanErrors:
    """A plan over all rounds. Errors are medians over its runs, signed; ``noise_fraction`` is how far its runs are from their median."""

    name: str
    measured_ns: int
    plain_fraction: float
    absolute_fraction: float
    paired_fraction: float
    noise_fraction: float
    runs: tuple[PairedRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All plans. Summaries are over single runs; ``noise`` is over runs too, each against the median of its plan."""

    plans: tuple[PlanErrors, ...]
    plain: ErrorSummary
    absolute: ErrorSummary
    paired: ErrorSummary
    noise: ErrorSummary
    calibration_variation_fraction: float

    @property
    def is_too_noisy(self) -> bool:
        """Whether calibration runs differ so much that the errors say nothing."""
        return self.calibration_variation_fraction > MOST_VARIATION_FRACTION


def run_rounds(trials: tuple[Trial, ...], calibration: Trial, num_rounds: int, on_run: Callable[[str], None] | None = None) -> Report:
    """Run every trial once a round, right after a run of the calibration plan. A first round warms up and is not counted."""
    for trial in (calibration, *trials):
        trial.run()
    first = fit_lane_costs(calibration.run())
    found: list[list[PairedRun]] = [[] for _ in trials]
    calibration_ns = []
    for _ in range(num_rounds):
        for trial, runs in zip(trials, found, strict=True):
            adjacent = calibration.run()
            calibration_ns.append(adjacent.timeline.makespan_ns)
            runs.append(_compared(trial, trial.run(), first, fit_lane_costs(adjacent)))
            if on_run is not None:
                on_run(trial.name)
    plans = tuple(_plan_errors(trial.name, tuple(runs)) for trial, runs in zip(trials, found, strict=True))
    return _report(plans, float(np.std(calibration_ns) / np.mean(calibration_ns)))


def _compared(trial: Trial, executed: Executed, first: LaneCosts, adjacent: LaneCosts) -> PairedRun:
    program = trial.predict(executed)
    return PairedRun(
        plain=compare(executed, program, timed(program)),
        absolute=compare(executed, program, timed_on_lanes(program, first)),
        paired=compare(executed, program, timed_on_lanes(program, adjacent)),
    )


def _plan_errors(name: str, runs: tuple[PairedRun, ...]) -> PlanErrors:
    measured_ns = np.array([run.plain.measured_ns for run in runs])
    middle_ns = float(np.median(measured_ns))
    return PlanErrors(
        name=name,
        measured_ns=round(middle_ns),
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
    )
