"""Errors of predictions against measurements: laws that hold for any figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from validation.accuracy.errors import (
    CLEAR_GAP,
    bias,
    median,
    median_over_rigs,
    order,
    relative_errors,
    tail,
)
from validation.accuracy.fit import rig_weights

SPEEDS = st.floats(0.01, 1e4)
ROWS = st.lists(st.tuples(SPEEDS, SPEEDS, st.sampled_from("abc")), min_size=1, max_size=12)


def _columns(
    rows: list[tuple[float, float, str]],
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    predicted, measured, rigs = zip(*rows, strict=True)
    return np.array(predicted), np.array(measured), tuple(rigs)


@given(ROWS, st.floats(0.01, 100))
def test_errors_have_no_unit(rows: list[tuple[float, float, str]], factor: float) -> None:
    """Both figures in another unit: the same errors, bias and order."""
    predicted, measured, rigs = _columns(rows)
    sizes = relative_errors(predicted, measured)
    assert relative_errors(factor * predicted, factor * measured) == pytest.approx(sizes)
    assert bias(factor * predicted, factor * measured) == pytest.approx(bias(predicted, measured))
    assert (sizes >= 0).all()
    assert sizes.min() <= median(sizes) <= tail(sizes) <= sizes.max()
    assert sizes.min() <= median_over_rigs(sizes, rigs) <= sizes.max()
    assert bias(predicted, measured) >= -1


@given(ROWS)
def test_order_is_a_share_of_the_clear_pairs(rows: list[tuple[float, float, str]]) -> None:
    """What is measured is in its own order, and turned round in none; without two figures of one
    machine clearly apart there is no order.
    """
    predicted, measured, rigs = _columns(rows)
    found = order(predicted, measured, rigs)
    has_pair = any(
        max(own / other, other / own) > 1 + CLEAR_GAP
        for place, own in enumerate(measured)
        for second, other in enumerate(measured[:place])
        if rigs[place] == rigs[second]
    )
    assert (found is not None) == has_pair
    if has_pair:
        assert found is not None and 0 <= found <= 1
        assert order(measured, measured, rigs) == 1
        assert order(1 / measured, measured, rigs) == 0


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=20))
def test_machines_weigh_alike(rigs: list[str]) -> None:
    """Squares of the weights of each machine's rows add up to one, however many it has."""
    weights = rig_weights(rigs) ** 2
    for rig in set(rigs):
        own = [weight for weight, name in zip(weights, rigs, strict=True) if name == rig]
        assert sum(own) == pytest.approx(1)
