"""One expert of a call that runs all experts of a layer, priced by measured curves: of its own shape,
or of the nearest that was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Curve, Machine, Operation

Sizes = NDArray[np.float64]
ShapeLaw = Callable[[int, int, Sizes], Sizes]
"""ns by the roofline for an expert of that hidden and intermediate size over those tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FromGroups:
    """ns, the curve that they rest on, and where they are not measured: another shape, or outside
    the curve's range.
    """

    ns: Sizes
    curve: Curve
    is_extrapolated: NDArray[np.bool_]


def grouped_curve(machine: Machine, dtype: str, hidden: int, intermediate: int) -> Curve | None:
    """The curve that prices experts of that format and shape within a call on the GPU: of that shape,
    else the one that covers others and whose weights are most alike in number, if any.

    Of equal ones the first.
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
        """How far its shape is: another one first, then the ratio of weights."""
        weights = curve.shape["hidden"] * curve.shape["intermediate"] / (hidden * intermediate)
        return curve.shape != shape, abs(float(np.log(weights)))

    return min(curves, key=distance, default=None)


def from_grouped_curve(
    curve: Curve, hidden: int, intermediate: int, tokens: Sizes, law: ShapeLaw
) -> FromGroups:
    """The measured duration; for another shape, and outside the curve's range, scaled by the ratio of
    rooflines.
    """
    other = curve.shape["hidden"], curve.shape["intermediate"]
    inside = np.clip(tokens, *curve.range)
    is_extrapolated = ~curve.covers(tokens) | (other != (hidden, intermediate))
    ratio = np.where(is_extrapolated, law(hidden, intermediate, tokens) / law(*other, inside), 1.0)
    return FromGroups(
        ns=curve.duration_ns(inside) * ratio, curve=curve, is_extrapolated=is_extrapolated
    )
