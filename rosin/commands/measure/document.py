"""A measurement as the document that ``rosin measure`` writes."""

from pathlib import Path
from typing import Any

import numpy as np

from rosin.report.checking_documents import MeasureResult, NoisyPoint
from validation.measuring import Findings

NOISY_FRACTION = 0.12
"""The spread beyond which a point is noisy; calibration runs that vary as much end a validation."""


def measure_result(findings: Findings, machine: dict[str, Any], path: Path) -> MeasureResult:
    """Return the machine file and the noise of its points, the noisiest curves first."""
    worst = {
        key: max(points, key=lambda point: point.spread_fraction)
        for key, points in findings.curves.items()
    }
    noisiest = [
        NoisyPoint(curve=key.text, size=point.probe.x, spread_fraction=point.spread_fraction)
        for key, point in worst.items()
    ]
    return MeasureResult(
        path=str(path),
        device="cuda" if findings.is_cuda else "emulated",
        description=machine["description"],
        machine=machine,
        num_curves=len(machine["curves"]),
        num_points=sum(len(curve["points"]) for curve in machine["curves"]),
        num_rounds=findings.num_rounds,
        disturbed_fraction=_disturbed_fraction(findings),
        median_spread_fraction=float(np.median(_spreads(findings))),
        noisiest=sorted(noisiest, key=lambda one: -one.spread_fraction),
        rejected=[one.reason for one in findings.rejected],
        left_out=list(findings.left_out),
    )


def measure_warnings(findings: Findings) -> list[str]:
    """Return the warnings that a reader needs before trusting the machine file."""
    spreads = _spreads(findings)
    noisy = sum(spread > NOISY_FRACTION for spread in spreads)
    found = [f"left out, since it cannot be: {one.reason}" for one in findings.rejected]
    # Some noisy points are usual; where most are, the computer is busy with other things.
    if 2 * noisy > len(spreads):
        found.append(
            f"this computer is noisy: half of the samples of {noisy} of {len(spreads)} points lie more than {NOISY_FRACTION:.0%} apart; "
            "measure again when it is quiet"
        )
    return found


def _disturbed_fraction(findings: Findings) -> float:
    """The share of samples in which another process had the core."""
    points = [point for points in findings.curves.values() for point in points]
    disturbed = sum(point.num_disturbed for point in points)
    return disturbed / (disturbed + sum(point.num_samples for point in points))


def _spreads(findings: Findings) -> list[float]:
    return [point.spread_fraction for points in findings.curves.values() for point in points]
