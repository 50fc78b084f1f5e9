"""Confidence intervals against scipy's."""

import numpy as np
import pytest
from scipy.stats import t

from planner.search.ties import half_width


@pytest.mark.parametrize("number", [2, 3, 4, 5, 8, 31, 32, 33, 200])
def test_half_widths_are_those_of_students_distribution(number: int) -> None:
    """For odd and even degrees of freedom, one included; to rounding."""
    values = np.random.default_rng(number).normal(3.0, 0.2, number)
    low, high = t.interval(
        0.95, number - 1, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(number)
    )
    assert half_width(values.tolist()) == pytest.approx((high - low) / 2, rel=1e-12)


def test_a_single_value_has_no_interval() -> None:
    """Nothing says how far another would lie."""
    assert half_width([1.0]) is None
