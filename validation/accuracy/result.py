"""What a comparison with measured rows gives, as it is written to JSON."""

from hwprofiles.file_part import FilePart
from sim.runtimes.constants import Phase


class PointAccuracy(FilePart):
    """One phase of one row: the predicted speed, the ends of its interval, and the measured
    speed.
    """

    predicted_tokens_per_s: float
    low_tokens_per_s: float
    high_tokens_per_s: float
    measured_tokens_per_s: float


class RowAccuracy(FilePart):
    """Predictions and measurements of one row.

    ``reason`` says why a row cannot be expressed. ``is_incomplete`` marks a row whose source leaves
    flags out.
    """

    id: str
    rig: str
    runtime: str
    decode: PointAccuracy | None = None
    prefill: PointAccuracy | None = None
    reason: str | None = None
    is_incomplete: bool = False


class GroupAccuracy(FilePart):
    """Errors of one group of points. A relative error is that of the predicted tokens a second.

    ``coverage_fraction`` counts points; ``coverage_over_rigs_fraction`` is the mean over machines.
    ``order_fraction`` is the share of pairs on one machine, over 5 % apart, that are predicted in
    order. It is null without such a pair.
    """

    phase: Phase
    by: str
    group: str
    num_points: int
    num_rigs: int
    median_error_fraction: float
    p90_error_fraction: float
    median_over_rigs_error_fraction: float
    bias_fraction: float
    coverage_fraction: float
    coverage_over_rigs_fraction: float
    order_fraction: float | None


class BaselineAccuracy(FilePart):
    """Errors of a simple rule on the same points."""

    phase: Phase
    baseline: str
    median_error_fraction: float
    p90_error_fraction: float
    order_fraction: float | None


class CaseArm(FilePart):
    """One arm of a case, predicted and measured.

    ``measured`` is tokens a second, or relative to the case's base if only that is published.
    ``reason`` says why an arm cannot be predicted. ``is_covered`` says whether the measured speed
    lies between the ends of the 80 % interval; it is null if the speed is only relative.
    """

    arm: str
    measured: float
    predicted_tokens_per_s: float | None
    low_tokens_per_s: float | None
    high_tokens_per_s: float | None
    is_covered: bool | None
    is_scored: bool
    reason: str | None


class CaseAccuracy(FilePart):
    """A choice among arms that ran on one machine.

    ``chosen_arm`` is the arm with the least expected time, ``best_arm`` the fastest measured one.
    ``regret_fraction`` is the share of the best arm's speed that the choice loses. Choice and
    regret are null if fewer than two arms can be predicted.
    """

    case: str
    phase: Phase
    chosen_arm: str | None
    best_arm: str
    regret_fraction: float | None
    kendall_tau: float | None
    arms: tuple[CaseArm, ...]


class CaseSummary(FilePart):
    """Regrets over all cases. A case in which nothing could be chosen counts as missed.

    ``covered_fraction`` is the share of the ``num_speeds`` measured speeds within their 80 %
    intervals.
    """

    num_cases: int
    num_chosen: int
    within_5_percent_fraction: float
    median_regret_fraction: float
    worst_regret_fraction: float
    median_kendall_tau: float | None
    covered_fraction: float | None
    num_speeds: int


class AccuracyResult(FilePart):
    """All rows, and the errors by group.

    ``constants`` are those of the prediction, fitted on all rows or as shipped.
    """

    leaves_one_rig_out: bool
    coverage_fraction: float
    spreads_that_cover: dict[Phase, float]
    rows: tuple[RowAccuracy, ...]
    summary: tuple[GroupAccuracy, ...]
    baselines: tuple[BaselineAccuracy, ...]
    constants: dict[str, float]
    constant_spreads: dict[str, float]
    cases: tuple[CaseAccuracy, ...] = ()
    case_summary: CaseSummary | None = None
