"""The analysis of a study: which axis matters, where the best policy changes, where gains end."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from planner.study.axes import Axis
from planner.study.outcome import OBJECTIVE_FIGURES, Outcome
from planner.study.sensitivity import Variation
from rosin.commands.whatif.document import (
    AxisEffect,
    PolicyChange,
    Saturation,
    Sensitivity,
)
from rosin.commands.whatif.rows import PointMark

WORTHWHILE_GAIN = 0.1
"""The gain from a doubling (as a fraction) that counts as worthwhile."""


def speed(figure: float | None, objective: str) -> float:
    """Return how good a feasible point is: tokens a second, or the inverse of the objective's time.

    ``figure`` is the point's metric for the objective.
    """
    assert figure is not None  # only what fits has a speed
    # With one output token, the time for each further one is 0, and no plan is better than another.
    return figure if objective == "throughput" else 1.0 / figure if figure else math.inf


def speed_of(metrics: Mapping[str, float], objective: str) -> float:
    """Return how good metrics are by the objective: see ``speed``."""
    return speed(metrics[OBJECTIVE_FIGURES[objective]], objective)


def lines_along(path: str, rows: Sequence[PointMark]) -> list[list[PointMark]]:
    """Return the rows in groups that differ only in the value at ``path``.

    Each group is sorted by that value if all values are numbers.
    """
    groups: dict[tuple[object, ...], list[PointMark]] = {}
    for row in rows:
        groups.setdefault(
            tuple(value for name, value in row.values.items() if name != path), []
        ).append(row)
    # Names have no order of their own, so they keep that of the study.
    is_number = all(not isinstance(row.values[path], str) for row in rows)
    return [
        sorted(group, key=lambda row: row.values[path]) if is_number else group
        for group in groups.values()
    ]


def effects(axes: Sequence[Axis], rows: Sequence[PointMark], objective: str) -> list[AxisEffect]:
    """Return the effect of each axis, the largest first.

    An axis is left out if no line along it has two feasible points.
    """
    found = []
    for axis in axes:
        ratios = []
        for line in lines_along(axis.path, rows):
            speeds = [speed(row.figure, objective) for row in line if row.is_feasible]
            if len(speeds) > 1:
                # Logarithms, so that twice the speed counts alike on slow and on fast lines.
                ratios.append(math.log(max(speeds) / min(speeds)))
        if ratios:
            found.append(
                AxisEffect(
                    path=axis.path, speed_gain_fraction=math.expm1(sum(ratios) / len(ratios))
                )
            )
    return sorted(found, key=lambda effect: -effect.speed_gain_fraction)


def policy_changes(axes: Sequence[Axis], rows: Sequence[PointMark]) -> list[PolicyChange]:
    """Return every pair of neighbouring values on a numeric axis whose best policies differ."""
    return [
        change
        for axis in axes
        if axis.is_numeric
        for line in lines_along(axis.path, rows)
        for change in _changes(axis.path, line)
    ]


def _changes(path: str, line: Sequence[PointMark]) -> Iterator[PolicyChange]:
    for left, right in pairwise(line):
        if left.policy and right.policy and left.policy != right.policy:
            yield PolicyChange(
                path=path,
                from_value=left.values[path],
                to_value=right.values[path],
                from_policy=left.policy,
                to_policy=right.policy,
                at=_others(path, left),
            )


def saturations(
    axes: Sequence[Axis], rows: Sequence[PointMark], objective: str
) -> list[Saturation]:
    """Return the value beyond which more stops paying, for each line along a machine number.

    A line needs at least three feasible points whose values are above 0.
    """
    # Only numbers of the machine have a dot in their path.
    machine_axes = [axis for axis in axes if "." in axis.path]
    return [
        Saturation(
            path=axis.path,
            value=_saturation(axis.path, feasible, objective),
            at=_others(axis.path, feasible[0]),
        )
        for axis in machine_axes
        for line in lines_along(axis.path, rows)
        # Steps are counted in doublings, and no doubling leads away from 0.
        if len(
            feasible := [
                row for row in line if row.is_feasible and float(row.values[axis.path]) > 0
            ]
        )
        > 2
    ]


def _saturation(path: str, line: Sequence[PointMark], objective: str) -> float | None:
    """Return the smallest value after which no step gains WORTHWHILE_GAIN for each doubling.

    None: the last step still gains that much.
    """
    found: float | None = None
    # From the end: after a step that gives little, a later one may still give much.
    for left, right in reversed(list(pairwise(line))):
        doublings = math.log2(float(right.values[path]) / float(left.values[path]))
        if math.log(
            speed(right.figure, objective) / speed(left.figure, objective)
        ) >= doublings * math.log1p(WORTHWHILE_GAIN):
            return found
        found = float(left.values[path])
    return found


def sensitivities(
    base: Outcome, found: Sequence[tuple[Variation, Outcome, Outcome]], objective: str
) -> list[Sensitivity]:
    """Return the gains of each variation over the base, the one that changes most first.

    The base must be feasible.
    """

    def gain(outcome: Outcome) -> float | None:
        """Return the gain of an outcome over the base, or None if nothing fits."""
        return (
            speed_of(outcome.metrics, objective) / speed_of(base.metrics, objective) - 1
            if outcome.is_feasible
            else None
        )

    rows = [
        Sensitivity(
            path=variation.path,
            base_value=variation.base_value,
            low_gain_fraction=gain(low),
            high_gain_fraction=gain(high),
            low_policy=low.policy,
            high_policy=high.policy,
        )
        for variation, low, high in found
    ]
    return sorted(rows, key=lambda row: -_swing(row))


def _swing(row: Sensitivity) -> float:
    """Return the distance between the two gains; a model that does not fit has a gain of -1."""
    low, high = (
        -1.0 if gain is None else gain for gain in (row.low_gain_fraction, row.high_gain_fraction)
    )
    return abs(high - low)


def pareto_front(rows: Sequence[PointMark], objective: str) -> list[int]:
    """Return the places of the rows that no other row beats at the same price or less.

    The cheapest row comes first. Of equal rows, only the first is returned.
    """
    priced = [
        (row.price_usd, -speed(row.figure, objective), place)
        for place, row in enumerate(rows)
        if row.is_feasible and row.price_usd is not None
    ]
    front = []
    best = 0.0
    # Of equal prices the best comes first, so the others at that price are passed over.
    for _, negative_speed, place in sorted(priced):
        if -negative_speed > best:
            best = -negative_speed
            front.append(place)
    return front


def _others(path: str, row: PointMark) -> dict[str, float | int | str]:
    return {name: value for name, value in row.values.items() if name != path}
