"""A calibration as the document that ``rosin calibrate`` writes."""

from pathlib import Path

from rosin.report.checking_documents import CalibrateResult, FittedFactor, HeldOutError
from validation.calibrating import Calibration, CostPart
from validation.comparison.rounds import MOST_VARIATION_FRACTION


def calibrate_result(calibration: Calibration, device: str, path: Path) -> CalibrateResult:
    """Factors by lane and part, and the errors on runs that were held out."""
    fit = calibration.fit
    return CalibrateResult(
        path=str(path),
        device=device,
        machine=calibration.data,
        factors=[
            FittedFactor(
                lane=lane,
                part=part.value,
                factor=fit.scales.factors.get((lane, part)),
                delay_ns=fit.scales.copy_delays_ns.get(lane)
                if part is CostPart.ACTIVATION_COPY
                else None,
                num_tasks=count,
            )
            for (lane, part), count in sorted(fit.num_tasks.items())
        ],
        before_layer_overhead_ns=calibration.before_layer_overhead_ns,
        layer_overhead_ns=fit.layer_overhead_ns,
        held_out=[HeldOutError.of(one) for one in calibration.held_out],
        variation_fraction=calibration.variation_fraction,
        num_runs=calibration.num_runs,
    )


def calibrate_warnings(calibration: Calibration) -> list[str]:
    """Return the warnings that a reader needs before trusting the fit."""
    found = []
    if calibration.variation_fraction > MOST_VARIATION_FRACTION:
        found.append(
            f"this computer is too noisy to fit anything to: runs of one plan vary by {calibration.variation_fraction:.1%}"
        )
    if not calibration.held_out:
        found.append(
            "one run of one plan: nothing was held out, so nothing is known of how good the fit is"
        )
    return found
