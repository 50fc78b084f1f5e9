"""Which of two policies is better over several draws, and where the draws do not tell.

Confidence intervals of paired differences decide.
"""

from collections.abc import Sequence
from math import atan, cos, pi, sin, sqrt

import numpy as np

from sim.memo import remembered

CONFIDENCE = 0.95
MOST_QUANTILES = 128

MOST_TIED_FRACTION = 0.01
"""The largest difference of means in a tie, as a fraction, however wide the interval is.

Simplicity is not worth more than that.
"""


def half_width(values: Sequence[float]) -> float | None:
    """Return half of the 95 % confidence interval (Student's t) of the mean of independent values.

    None for a single value.
    """
    number = len(values)
    if number < 2:
        return None
    return _quantile(number - 1) * float(np.std(values, ddof=1)) / sqrt(number)


@remembered(MOST_QUANTILES)
def _quantile(freedom: int) -> float:
    """Return the distance from zero within which Student's distribution has 95 % of its values.

    The distribution has ``freedom`` degrees of freedom. scipy's ``stdtrit`` says the same;
    importing it takes a fifth of a second, a tenth of a short plan.
    """
    low = 0.0
    high = 1.0
    while _within(high, freedom) < CONFIDENCE:
        high *= 2
    # Until no number lies between them: the last bit is found.
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _within(middle, freedom) < CONFIDENCE else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return the probability of less than t from zero.

    The formulas are 26.7.3 and 26.7.4 of Abramowitz and Stegun, Handbook of Mathematical Functions.
    """
    angle = atan(t / sqrt(freedom))
    is_odd = freedom % 2
    term, total = (cos(angle), 0.0) if is_odd else (1.0, 0.0)
    for power in range(1 + is_odd, freedom, 2):
        total += term
        term *= cos(angle) ** 2 * power / (power + 1)
    return 2 / pi * (angle + sin(angle) * total) if is_odd else sin(angle) * total


def is_tied(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the 95 % interval of the mean difference, draw by draw, has zero in it, and the means
    differ by at most 1 %.

    Of a single draw, whether both are equal.
    """
    differences = [own - its for own, its in zip(one, other, strict=True)]
    apart = abs(float(np.mean(differences)))
    return apart <= min(
        half_width(differences) or 0.0, MOST_TIED_FRACTION * abs(float(np.mean(other)))
    )
