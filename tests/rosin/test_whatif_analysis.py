"""What the rows of a study say, against definitions that look at every pair."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.study.axes import parse_axes
from planner.study.outcome import Outcome
from planner.study.sensitivity import Variation
from rosin.commands.whatif.analysis import (
    WORTHWHILE_GAIN,
    effects,
    pareto_front,
    policy_changes,
    saturations,
    sensitivities,
)
from rosin.commands.whatif.rows import PointMark
from tests.planner.studies import BASE

MEMORY = "gpu.memory_bytes"
SPEEDS = st.floats(0.01, 1e4)
SERIES = st.lists(
    st.tuples(st.integers(1, 1000), SPEEDS), min_size=1, max_size=8, unique_by=lambda pair: pair[0]
)
"""Values along an axis, each with the speed that is reached there."""


def _mark(
    values: dict[str, Any],
    speed: float,
    price_usd: float | None = None,
    policy: str = "p",
    place: int = 0,
) -> PointMark:
    return PointMark(
        place=place,
        values=values,
        price_usd=price_usd,
        figure=speed,
        policy=policy,
        best_named_policy=None,
        missing_bytes=None,
    )


def _at(speed: float) -> Outcome:
    return Outcome(is_feasible=True, metrics={"output_tokens_per_s": speed})


@given(SERIES)
def test_saturation_is_where_doubling_stops_paying(series: list[tuple[int, float]]) -> None:
    """The smallest value behind which no step gains a tenth a doubling; none where the last one
    does; two points say nothing.
    """
    axes = parse_axes([f"{MEMORY}=1,2"])
    rows = [_mark({MEMORY: float(value)}, speed) for value, speed in series]
    found = saturations(axes, rows, "throughput")
    if len(series) < 3:
        assert found == []
        return
    ordered = sorted(series)
    pays = [
        math.log(speed / slower) >= math.log2(value / less) * math.log1p(WORTHWHILE_GAIN)
        for (less, slower), (value, speed) in pairwise(ordered)
    ]
    expected = [
        float(value) for place, (value, _) in enumerate(ordered[:-1]) if not any(pays[place:])
    ]
    assert [each.value for each in found] == [expected[0] if expected else None]


@given(
    st.lists(st.tuples(SPEEDS, st.none() | st.sampled_from([5.0, 10.0, 20.0, 30.0])), max_size=8)
)
def test_front_has_what_nothing_beats_for_the_money(rows: list[tuple[float, float | None]]) -> None:
    """Dearer and no faster is off the front; of equals the first is on it; cheapest first."""
    found = pareto_front([_mark({}, speed, price) for speed, price in rows], "throughput")
    expected = [
        place
        for place, (speed, price) in enumerate(rows)
        if price is not None
        and not any(
            other is not None
            and other <= price
            and (faster > speed or (faster == speed and (other, index) < (price, place)))
            for index, (faster, other) in enumerate(rows)
            if index != place
        )
    ]
    assert sorted(found) == expected
    assert [rows[place][1] for place in found] == sorted(rows[place][1] or 0 for place in expected)


@given(SPEEDS, st.lists(st.tuples(st.none() | SPEEDS, st.none() | SPEEDS), max_size=6))
def test_sensitivities_are_ordered_by_their_swing(
    base: float, ends: list[tuple[float | None, float | None]]
) -> None:
    """What moves the speed more comes first; what makes the model not fit counts as losing
    everything.
    """
    misfit = Outcome(is_feasible=False, reason="too big", missing_bytes=1)
    found = sensitivities(
        _at(base),
        [
            (
                Variation(path=f"{number}", base_value=1.0, low=BASE, high=BASE),
                *(misfit if speed is None else _at(speed) for speed in pair),
            )
            for number, pair in enumerate(ends)
        ],
        "throughput",
    )
    swings = []
    for row in found:
        low, high = ends[int(row.path)]
        for gain, speed in ((row.low_gain_fraction, low), (row.high_gain_fraction, high)):
            assert (gain is None) is (speed is None)
            assert speed is None or gain == pytest.approx(speed / base - 1)
        swings.append(abs((low or 0.0) - (high or 0.0)))
    assert len(found) == len(ends)
    assert swings == pytest.approx(sorted(swings, reverse=True))


@given(SERIES, st.data())
def test_changes_are_between_neighbours(
    series: list[tuple[int, float]], data: st.DataObject
) -> None:
    """A pair for each place where the best policy is another, ascending; an axis along which nothing
    differs has no effect.
    """
    axes = parse_axes([f"{MEMORY}=1,2"])
    rows = [
        _mark({MEMORY: float(value)}, speed, policy=data.draw(st.sampled_from("ab")))
        for value, speed in series
    ]
    ordered = sorted(rows, key=lambda row: row.values[MEMORY])
    expected = [
        (left.values[MEMORY], right.values[MEMORY], left.policy, right.policy)
        for left, right in pairwise(ordered)
        if left.policy != right.policy
    ]
    found = policy_changes(axes, rows)
    assert [
        (each.from_value, each.to_value, each.from_policy, each.to_policy) for each in found
    ] == expected
    [*gains] = effects(axes, rows, "throughput")
    speeds = [speed for _, speed in series]
    assert [each.speed_gain_fraction for each in gains] == (
        [pytest.approx(max(speeds) / min(speeds) - 1)] if len(speeds) > 1 else []
    )
