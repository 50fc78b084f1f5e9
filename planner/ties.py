"""Which of two is better over several draws, and where the draws do not tell: confidence intervals of paired differences."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95

MOST_TIED_FRACTION = 0.01
"""What differs by more is no tie, however few draws there are and wide the interval: simplicity is not worth more than that."""


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % confidence interval (Student's t) of the mean of independent values; None for a single one."""
    number = len(values)
    if number < 2:
        return None
    quantile = float(stdtrit(number - 1, (1 + CONFIDENCE) / 2))
    return quantile * float(np.std(values, ddof=1)) / sqrt(number)


def is_tied(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the 95 % interval of the mean difference, draw by draw, has zero in it, and the means differ by at most 1 %.

    Of a single draw, whether both are equal.
    """
    differences = [own - its for own, its in zip(one, other, strict=True)]
    apart = abs(float(np.mean(differences)))
    return apart <= min(half_width(differences) or 0.0, MOST_TIED_FRACTION * abs(float(np.mean(other))))
