"""Confidence intervals against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from planner.search.ties import half_width, is_tied

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(
    VALUES | st.integers(41, 200).map(lambda number: [float(each % 7) for each in range(number)])
)
def test_half_widths_are_those_of_students_distribution(values: list[float]) -> None:
    """For odd and even degrees of freedom, one included; to rounding. Of a single value nothing says
    how far another would lie.
    """
    number = len(values)
    if number == 1:
        assert half_width(values) is None
        return
    spread = np.std(values, ddof=1) / np.sqrt(number)
    assert half_width(values) == pytest.approx(t.ppf(0.975, number - 1) * spread, rel=1e-9)


@given(VALUES, st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_intervals_move_and_stretch_with_their_values(
    values: list[float], moved: float, factor: float
) -> None:
    """Another zero changes no width, another unit changes it in proportion."""
    if len(values) == 1:
        return
    width = half_width(values)
    assert width is not None and width >= 0
    found = half_width([moved + factor * value for value in values])
    assert found == pytest.approx(factor * width, rel=1e-6, abs=1e-6)


@given(VALUES, VALUES)
def test_a_tie_lies_within_the_interval_and_a_hundredth(
    one: list[float], other: list[float]
) -> None:
    """What equals itself is tied; what differs by more than either is not."""
    number = min(len(one), len(other))
    one, other = one[:number], other[:number]
    assert is_tied(one, one)
    apart = abs(float(np.mean([own - its for own, its in zip(one, other, strict=True)])))
    width = half_width([own - its for own, its in zip(one, other, strict=True)]) or 0.0
    assert is_tied(one, other) == (apart <= width and apart <= 0.01 * abs(float(np.mean(other))))
