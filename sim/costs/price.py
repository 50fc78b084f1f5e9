"""The price of an operation: ns with the weakest source that went in, from a curve or a formula."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Curve, InputError, Provenance, weakest
from hwprofiles.errors import shortened
from hwprofiles.limits import MAX_TIME_S
from hwprofiles.units import NS_PER_S
from sim.costs.attention_price import FromCurves
from sim.costs.grouped_curves import FromGroups

Sizes = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Durations in ns (int64), the weakest provenance that went into them, and which of them lie
    outside what a curve measured.
    """

    ns: NDArray[np.int64]
    provenance: Provenance
    is_extrapolated: NDArray[np.bool_]


def price_of(
    curve: Curve | None,
    sizes: Sizes,
    formula: Callable[[Sizes], Sizes],
    rates: tuple[Provenance, ...],
) -> Price:
    """Price an operation by its measured curve, by the formula where there is none.

    Outside the measured range the nearest end of the curve is scaled by the ratio of formulas.
    ``rates`` are the sources of what the formula reads. Raises InputError for a time beyond what
    whole ns hold.
    """
    if curve is None:
        ns = formula(sizes)
        provenance = weakest(rates)
        outside = np.zeros(np.shape(sizes), bool)
    else:
        outside = ~curve.covers(sizes)
        # The formula's error mostly cancels in a ratio, so the curve's end keeps what it measured.
        ns = curve.duration_ns(sizes) * np.where(
            outside, formula(sizes) / formula(np.clip(sizes, *curve.range)), 1.0
        )
        provenance = weakest((curve.provenance, *rates)) if outside.any() else curve.provenance
    if not (ns <= MAX_TIME_S * NS_PER_S).all():
        years = MAX_TIME_S // (365 * 24 * 3600)
        raise InputError(
            f"by the machine's curves and rates an operation takes over {years} years "
            f"({shortened(provenance.source)})"
        )
    return Price(ns=np.rint(ns).astype(np.int64), provenance=provenance, is_extrapolated=outside)


def attention_price(
    found: FromCurves, rates: tuple[Provenance, ...], shape: tuple[int, ...]
) -> Price:
    """Return the price that curves of attention gave, in that shape, with the weakest source that
    went in.
    """
    # Only a time that is measured throughout owes nothing to the rates of the formula.
    is_all_measured = bool(found.is_measured.all()) and not found.is_outside.any()
    provenance = weakest(
        found.provenances if is_all_measured and found.provenances else (*found.provenances, *rates)
    )
    ns = np.rint(found.ns).astype(np.int64).reshape(shape)
    return Price(ns=ns, provenance=provenance, is_extrapolated=found.is_outside.reshape(shape))


def grouped_price(found: FromGroups, rates: tuple[Provenance, ...]) -> Price:
    """Price an expert by curves of experts within a call."""
    own = found.curve.provenance
    return Price(
        ns=np.rint(found.ns).astype(np.int64),
        provenance=weakest((own, *rates)) if found.is_extrapolated.any() else own,
        is_extrapolated=found.is_extrapolated,
    )
