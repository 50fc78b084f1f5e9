"""Predicting points: with the constants as they ship, or each machine's with constants fitted on
all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.runtimes.constants import NAMES, Constants, ConstantsFile, Interval, Phase, constants_of
from sim.runtimes.intervals import relative_width
from validation.accuracy.errors import weighted_quantile
from validation.accuracy.fit import Points, fitted, rig_weights
from validation.accuracy.points import chosen

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PhasePrediction:
    """Predictions of the points of a phase with the ends of their intervals."""

    points: Points
    predicted: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def is_covered(self) -> NDArray[np.bool_]:
        """Whether each measurement lies within its interval."""
        measured = self.points.tokens_per_s
        return np.asarray((self.low <= measured) & (measured <= self.high))


@dataclass(frozen=True, kw_only=True)
class Refits:
    """Constants fitted on all rigs, and for each rig on all others."""

    all_rigs: Mapping[str, float]
    without: Mapping[str, Constants]
    spreads: Mapping[str, float]


def refit(points: Mapping[Phase, Points], file: ConstantsFile) -> Refits:
    """Fit on all machines, then leave each out once.

    A spread is the deviation of a constant's logarithm over these fits.
    """
    rigs = sorted({rig for own in points.values() for rig in own.rigs})
    without = {rig: fitted(_without(points, rig), file) for rig in rigs}
    spreads = {
        name: float(np.std([np.log(values[name]) for values in without.values()])) for name in NAMES
    }
    return Refits(
        all_rigs=fitted(points, file),
        without={rig: constants_of(values) for rig, values in without.items()},
        spreads=spreads,
    )


def predict_left_out(points: Points, refits: Refits, file: ConstantsFile) -> PhasePrediction:
    """Each machine's points with the constants, and an interval's width, that all other machines
    give.
    """
    rigs = np.array(points.rigs)
    predicted = np.zeros(len(rigs))
    for rig in sorted(set(points.rigs)):
        own = rigs == rig
        # By constants that never saw this machine.
        predicted[own] = chosen(points, own).predicted(refits.without[rig])
    interval = file.intervals[points.phase]
    width = np.asarray(relative_width(points.features, interval), float)
    factors = np.zeros(len(rigs))
    for rig in sorted(set(points.rigs)):
        own = rigs == rig
        factors[own] = interval_factor(points, predicted, ~own, interval, file.coverage_fraction)
    return _with_ends(points, predicted, factors**width)


def predict_shipped(points: Points, constants: Constants, file: ConstantsFile) -> PhasePrediction:
    """All points with the constants and widths of the file."""
    interval = file.intervals[points.phase]
    width = np.asarray(relative_width(points.features, interval), float)
    return _with_ends(points, points.predicted(constants), interval.factor**width)


def interval_factor(
    points: Points,
    predicted: FloatArray,
    which: NDArray[np.bool_],
    interval: Interval,
    coverage_fraction: float,
) -> float:
    """The factor within which that share of the chosen points lies, machines with many points
    weighing less for each.

    A share of so few machines is taken a little higher, as if the machine that is predicted were
    one more (split conformal prediction).
    """
    errors = np.abs(np.log(predicted / points.tokens_per_s))
    scaled = errors / np.asarray(relative_width(points.features, interval), float)
    weights = rig_weights(points.rigs)
    # Squares of the weights sum to one for each machine.
    num_rigs = float(np.sum(weights[which] ** 2))
    share = min(1.0, coverage_fraction * (1 + 1 / num_rigs))
    return float(np.exp(weighted_quantile(scaled[which], weights[which], share)))


def _without(points: Mapping[Phase, Points], rig: str) -> dict[Phase, Points]:
    kept = {phase: np.array([name != rig for name in own.rigs]) for phase, own in points.items()}
    return {phase: chosen(own, kept[phase]) for phase, own in points.items() if kept[phase].any()}


def _with_ends(points: Points, predicted: FloatArray, factors: FloatArray) -> PhasePrediction:
    return PhasePrediction(
        points=points, predicted=predicted, low=predicted / factors, high=predicted * factors
    )
