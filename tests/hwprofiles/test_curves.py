"""Cost curves: exact at points, between neighbours elsewhere, monotone where the points are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hwprofiles.curve import Curve, Operation
from hwprofiles.quantity import Kind

sizes = st.lists(
    st.floats(1e-3, 1e9), min_size=1, max_size=8, unique_by=lambda size: round(math.log(size), 9)
).map(sorted)


def curve(points: list[tuple[float, float]]) -> Curve:
    """A curve through the points."""
    return Curve(
        operation=Operation.EXPERT,
        device="cpu",
        points=tuple(points),
        kind=Kind.MEASURED,
        source="this test",
        date="2024",
    )


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Any valid curve."""
    xs = draw(sizes)
    return curve([(x, draw(st.floats(1, 1e12))) for x in xs])


@given(curves())
def test_exact_at_points(measured: Curve) -> None:
    """At a measured size, the measured duration comes back."""
    xs, ns = np.array(measured.points).T
    np.testing.assert_allclose(measured.duration_ns(xs), ns, rtol=1e-9)


@given(curves(), st.floats(1e-4, 1e10))
def test_between_its_neighbours(measured: Curve, x: float) -> None:
    """A duration never leaves the range of the two points around it; outside, it is that of the
    nearest end.
    """
    xs, ns = np.array(measured.points).T
    right = int(np.searchsorted(xs, x))
    around = ns[max(right - 1, 0) : right + 1]
    (duration,) = measured.duration_ns(np.array([x]))
    assert around.min() * (1 - 1e-9) <= duration <= around.max() * (1 + 1e-9)
    assert measured.covers(np.array([x])).tolist() == [measured.range[0] <= x <= measured.range[1]]


@given(sizes, st.data())
def test_monotone_between_monotone_points(xs: list[float], data: st.DataObject) -> None:
    """Durations that rise from point to point rise everywhere."""
    ns = sorted(data.draw(st.lists(st.floats(1, 1e12), min_size=len(xs), max_size=len(xs))))
    probes = np.geomspace(xs[0], xs[-1] * (1 + 1e-12), 50)
    durations = curve(list(zip(xs, ns, strict=True))).duration_ns(probes)
    assert (np.diff(durations) >= -1e-9 * durations[1:]).all()


@given(st.floats(1, 1e3), st.floats(1, 512))
def test_a_line_through_the_origin_stays_one(ns_per_token: float, tokens: float) -> None:
    """Straight in log-log: two points of a*s give a*s between them (Fiddler's CPU cost)."""
    line = curve([(1, ns_per_token), (512, 512 * ns_per_token)])
    assert line.duration_ns(np.array([tokens]))[0] == pytest.approx(ns_per_token * tokens, rel=1e-9)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(2, 1), (1, 1)], "rise strictly"),
        ([(1, 1), (1, 2)], "rise strictly"),
        ([(0, 1)], "size > 0"),
        ([(1, 0)], "ns > 0"),
        ([], "at least 1"),
    ],
)
def test_senseless_points_are_refused(points: list[tuple[float, float]], message: str) -> None:
    """Sizes rise, and sizes and durations are above zero."""
    with pytest.raises(ValidationError, match=message):
        curve(points)


def test_points_may_carry_units() -> None:
    """A file may say [64KiB, 12e3]; both reach the curve as numbers."""
    written = curve([(1, 1)]).model_dump() | {"points": [["64KiB", "12e3"], ["1MiB", "60e3"]]}
    assert Curve.model_validate(written).points == ((65536, 12000), (1048576, 60000))
