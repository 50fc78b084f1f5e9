"""The price of one expert in a call that runs all experts of a layer, by measured curves.

A curve is of the expert's own shape, or of the nearest shape that was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Curve, Machine, Operation

Sizes = NDArray[np.float64]
ShapeLaw = Callable[[int, int, Sizes], Sizes]
"""ns by the roofline for an expert, given its hidden size, its intermediate size and its tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FromGroups:
    """Durations in ns, the curve that they rest on, and which of them are not measured: for another
    shape, or outside the curve's range.
    """

    ns: Sizes
    curve: Curve
    is_extrapolated: NDArray[np.bool_]


def grouped_curve(machine: Machine, dtype: str, hidden: int, intermediate: int) -> Curve | None:
    """Return the curve that prices experts of that format and shape within a call on the GPU; None
    if there is none.

    It is the curve of that shape. Else it is, of those that cover other shapes, the one whose
    weights are most alike in number. Of equal ones, the first.
    """
    shape = {"hidden": hidden, "intermediate": intermediate}
    curves = [
        curve
        for curve in machine.curves
        if curve.operation is Operation.EXPERT_IN_GROUP
        and curve.dtype == dtype
        and (curve.covers_other_shapes or curve.shape == shape)
    ]

    def distance(curve: Curve) -> tuple[bool, float]:
        """Return whether the curve is of another shape, and how far the ratio of weights
        is from 1.
        """
        weights = curve.shape["hidden"] * curve.shape["intermediate"] / (hidden * intermediate)
        return curve.shape != shape, abs(float(np.log(weights)))

    return min(curves, key=distance, default=None)


def from_grouped_curve(
    curve: Curve, hidden: int, intermediate: int, tokens: Sizes, law: ShapeLaw
) -> FromGroups:
    """Return measured durations; for another shape, and outside the curve's range, they are scaled
    by the ratio of rooflines.
    """
    other = curve.shape["hidden"], curve.shape["intermediate"]
    inside = np.clip(tokens, *curve.range)
    is_extrapolated = ~curve.covers(tokens) | (other != (hidden, intermediate))
    ratio = np.where(is_extrapolated, law(hidden, intermediate, tokens) / law(*other, inside), 1.0)
    return FromGroups(
        ns=curve.duration_ns(inside) * ratio, curve=curve, is_extrapolated=is_extrapolated
    )
