"""Predict points with the shipped constants, or each machine's with constants fitted on all
others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.runtimes.constants import NAMES, Constants, ConstantsFile, Phase, constants_of
from sim.runtimes.intervals import interval_factor, stated_spread
from validation.accuracy.fit import Points, fitted
from validation.accuracy.points import chosen

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PhasePrediction:
    """Predictions of the points of a phase, in tokens a second, with the spreads that they state.

    An interval reaches ``spreads_to_an_end`` stated spreads to each side. All arrays are [point].
    """

    points: Points
    predicted: FloatArray
    spreads: FloatArray
    spreads_to_an_end: FloatArray

    @property
    def low(self) -> FloatArray:
        """The low end of each interval."""
        return np.asarray(self.predicted / self._factor, float)

    @property
    def high(self) -> FloatArray:
        """The high end of each interval."""
        return np.asarray(self.predicted * self._factor, float)

    @property
    def _factor(self) -> FloatArray:
        return np.asarray(interval_factor(self.spreads, self.spreads_to_an_end), float)

    @property
    def errors_in_spreads(self) -> FloatArray:
        """Size of each error of the logarithm, in stated spreads."""
        return np.abs(np.log(self.predicted / self.points.tokens_per_s)) / self.spreads

    @property
    def is_covered(self) -> NDArray[np.bool_]:
        """Whether each measurement lies within its interval."""
        measured = self.points.tokens_per_s
        return np.asarray((self.low <= measured) & (measured <= self.high))


@dataclass(frozen=True, kw_only=True)
class Refits:
    """Constants fitted on all rigs and, for each rig, on all others; with their spreads over these
    fits.
    """

    all_rigs: Mapping[str, float]
    without: Mapping[str, Constants]
    spreads: Mapping[str, float]


def refit(points: Mapping[Phase, Points], file: ConstantsFile) -> Refits:
    """Fit constants on all machines, then once without each machine.

    A spread is the standard deviation of a constant's logarithm over the fits without one machine.
    """
    rigs = sorted({rig for own in points.values() for rig in own.rigs})
    all_rigs = fitted(points, file)
    # One machine moves the constants little, so the search begins near its end.
    without = {rig: fitted(_without(points, rig), file, all_rigs) for rig in rigs}
    spreads = {
        name: float(np.std([np.log(values[name]) for values in without.values()])) for name in NAMES
    }
    return Refits(
        all_rigs=all_rigs,
        without={rig: constants_of(values) for rig, values in without.items()},
        spreads=spreads,
    )


def predict_left_out(
    points: Mapping[Phase, Points], refits: Refits, file: ConstantsFile
) -> dict[Phase, PhasePrediction]:
    """Predict each machine's points with constants and widths of intervals from all other
    machines.
    """
    found = {phase: _left_out(own, refits, file) for phase, own in points.items()}
    # A new machine's errors are not known beforehand, so a machine's own must not widen its range.
    for phase, own in found.items():
        rigs = own.points.rigs
        # The only machine of a phase has no others, so its intervals stay as they ship.
        if len(set(rigs)) == 1:
            continue
        reach = {
            rig: spreads_that_cover(own, file.coverage_fraction, without=rig) for rig in set(rigs)
        }
        known = np.array([reach[rig] for rig in rigs])
        found[phase] = replace(own, spreads_to_an_end=known)
    return found


def spreads_that_cover(
    prediction: PhasePrediction, coverage_fraction: float, without: str | None = None
) -> float:
    """Return how many stated spreads hold ``coverage_fraction`` of the errors of a phase.

    The machine ``without`` is left out. Machines weigh alike, however many rows they have, because
    an interval is for a machine that nobody knows.
    """
    errors = {
        rig: prediction.errors_in_spreads[[name == rig for name in prediction.points.rigs]]
        for rig in sorted(set(prediction.points.rigs) - {without})
    }
    sizes = np.concatenate(list(errors.values()))
    weights = np.concatenate([np.full(len(own), 1 / len(own)) for own in errors.values()])
    ascending = np.argsort(sizes)
    held = np.cumsum(weights[ascending]) / len(errors)
    # The least error below which that share of the weight lies; rounding must not go past the last.
    index = min(int(np.searchsorted(held, coverage_fraction)), len(sizes) - 1)
    return float(sizes[ascending][index])


def predict_shipped(points: Points, constants: Constants, file: ConstantsFile) -> PhasePrediction:
    """Predict all points with the constants and the interval width of the file."""
    return PhasePrediction(
        points=points,
        predicted=points.predicted(constants),
        spreads=_spreads(points, constants, file),
        spreads_to_an_end=np.full(len(points.rigs), file.spreads_to_an_end[points.phase]),
    )


def _left_out(points: Points, refits: Refits, file: ConstantsFile) -> PhasePrediction:
    rigs = np.array(points.rigs)
    predicted = np.zeros(len(rigs))
    spreads = np.zeros(len(rigs))
    for rig in sorted(set(points.rigs)):
        own = rigs == rig
        machine = chosen(points, own)
        # By constants that never saw this machine.
        predicted[own] = machine.predicted(refits.without[rig])
        spreads[own] = _spreads(machine, refits.without[rig], file)
    return PhasePrediction(
        points=points,
        predicted=predicted,
        spreads=spreads,
        spreads_to_an_end=np.full(len(rigs), file.spreads_to_an_end[points.phase]),
    )


def _spreads(points: Points, constants: Constants, file: ConstantsFile) -> FloatArray:
    def seconds(moved: Constants) -> FloatArray:
        """Return the seconds a token under those constants [point]."""
        return np.asarray(1.0 / points.predicted(moved), float)

    return np.asarray(stated_spread(seconds, constants, file, points.phase), float)


def _without(points: Mapping[Phase, Points], rig: str) -> dict[Phase, Points]:
    kept = {phase: np.array([name != rig for name in own.rigs]) for phase, own in points.items()}
    # A phase that only this machine measured has no points left.
    return {phase: chosen(own, kept[phase]) for phase, own in points.items() if kept[phase].any()}
