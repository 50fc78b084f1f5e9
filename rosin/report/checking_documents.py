"""The JSON keys of the commands that measure and run plans.

docs/reference/json.md explains them.
"""

from typing import Any

from rosin.report.document import Document


class ErrorShare(Document):
    """The size of an error over a number of runs, as fractions: median and 90th percentile."""

    median: float
    p90: float


class PairedErrors(Document):
    """The errors of three kinds of prediction: see ``validation.comparison.PairedRun``."""

    paired: ErrorShare
    absolute: ErrorShare
    plain: ErrorShare


class ValidatedPlan(Document):
    """One plan that was run; errors are signed, predicted / measured − 1."""

    name: str
    measured_s: float
    plain_error_fraction: float
    absolute_error_fraction: float
    paired_error_fraction: float
    noise_fraction: float


class ValidateResult(Document):
    """The result of ``rosin validate``."""

    device: str
    tier: str
    machine: str
    model: str
    host: str
    predicted: dict[str, float]
    measured: dict[str, float]
    error_fraction: PairedErrors
    noise_floor_fraction: float
    calibration_variation_fraction: float
    num_preempted_runs: int
    regret_fraction: float
    kendall_tau: float | None
    plans: list[ValidatedPlan]
    left_out: dict[str, str]


class NoisyPoint(Document):
    """The noisiest point of one curve."""

    curve: str
    size: int
    spread_fraction: float


class MeasureResult(Document):
    """The result of ``rosin measure``, and the path of the file."""

    path: str
    device: str
    description: str
    machine: dict[str, Any]
    num_curves: int
    num_points: int
    num_rounds: int
    disturbed_fraction: float
    median_spread_fraction: float
    noisiest: list[NoisyPoint]
    rejected: list[str]
    left_out: list[str]


class FittedFactor(Document):
    """A correction of the prices of one part on one lane.

    Prices are multiplied by ``factor``. For copies of activations, ``delay_ns`` is added to every
    copy instead.
    """

    lane: str
    part: str
    factor: float | None
    delay_ns: float | None
    num_tasks: int


class HeldOutError(Document):
    """A plan predicted by a fit to other runs.

    Both fractions are signed errors of whole runs, before the fit and after.
    """

    plan: str
    before_fraction: float
    after_fraction: float
    fitted_to: str


class CalibrateResult(Document):
    """The result of ``rosin calibrate``, and the path of the file."""

    path: str
    device: str
    machine: dict[str, Any]
    factors: list[FittedFactor]
    before_layer_overhead_ns: float
    layer_overhead_ns: float
    held_out: list[HeldOutError]
    variation_fraction: float
    num_runs: int
