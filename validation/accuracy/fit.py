"""Fit the constants of prices to measured rows.

Every machine weighs alike, outliers count little, and priors hold the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sim.runtimes.constants import NAMES, Constants, ConstantsFile, Phase, constants_of
from sim.runtimes.features import Features
from sim.runtimes.prices import Seconds, decode_seconds, prefill_seconds

FloatArray = NDArray[np.float64]
PRICES: Mapping[Phase, Callable[[Features, Constants], Seconds]] = {
    "decode": decode_seconds,
    "prefill": prefill_seconds,
}
TYPICAL_ERROR: Mapping[Phase, float] = {"decode": 0.2, "prefill": 0.2}
"""Typical errors of a speed's logarithm; errors up to about these count by their square."""

PRIOR_WEIGHT = 0.5
"""A constant one prior spread away from its prior costs as much as half a typical error of a whole
machine.
"""


@dataclass(frozen=True, kw_only=True)
class Points:
    """Measured points of one phase: features and tokens a second [point], and each point's
    machine.
    """

    phase: Phase
    features: Features
    tokens_per_s: FloatArray
    rigs: tuple[str, ...]

    def predicted(self, constants: Constants) -> FloatArray:
        """Return the predicted tokens a second of every point."""
        seconds = PRICES[self.phase](self.features, constants).total
        return np.asarray(self.features.tokens / seconds, float)


def fitted(
    points: Mapping[Phase, Points],
    file: ConstantsFile,
    start: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return all constants, fitted phase by phase: decode, then prefill, then decode again.

    Each fit keeps the constants of the other phase. The search begins at ``start``, or at the
    priors without it.
    """
    values = dict(start or {name: file.constants[name].prior for name in NAMES})
    # A prompt's price has constants of decode in it, and attention of one token one of prompts.
    for phase in ("decode", "prefill", "decode"):
        if phase in points:
            values |= _fit_phase(points[phase], file, values)
    return values


def _fit_phase(
    points: Points, file: ConstantsFile, values: Mapping[str, float]
) -> dict[str, float]:
    names = [name for name in NAMES if file.constants[name].phase == points.phase]
    priors = np.log([file.constants[name].prior for name in names])
    spreads = np.array([file.constants[name].prior_spread for name in names])
    weights = rig_weights(points.rigs)
    # Logarithms, so that twice too fast weighs as much as twice too slow.
    measured = np.log(points.tokens_per_s)

    def residuals(logs: FloatArray) -> FloatArray:
        """Return weighted errors of all points, large ones softened, and deviations from the
        priors.
        """
        constants = constants_of({**values, **dict(zip(names, np.exp(logs), strict=True))})
        errors = (np.log(points.predicted(constants)) - measured) / TYPICAL_ERROR[points.phase]
        softened = np.sign(errors) * np.sqrt(_cost(errors, points.phase))
        return np.concatenate([weights * softened, PRIOR_WEIGHT * (logs - priors) / spreads])

    solution = least_squares(residuals, np.log([values[name] for name in names]))
    return dict(zip(names, np.exp(solution.x).tolist(), strict=True))


def _cost(errors: FloatArray, phase: Phase) -> FloatArray:
    """Return the cost of each error, which is its square near 0.

    A large error of decoding costs hardly more than a smaller one. Such an error has another cause
    than a constant, for example reading from a disk or another build. A large error of a prompt
    costs its size, because rows of prompts differ by where they ran.
    """
    if phase == "decode":
        return np.asarray(np.log1p(errors**2), float)
    return np.asarray(2 * (np.sqrt(1 + errors**2) - 1), float)


def rig_weights(rigs: Sequence[str]) -> FloatArray:
    """Return a weight for each point; the squares of one machine's weights add up to one."""
    counts = {rig: rigs.count(rig) for rig in set(rigs)}
    # A root, because the solver squares each residual with its weight.
    return np.array([counts[rig] ** -0.5 for rig in rigs])
