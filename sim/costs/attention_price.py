"""What attention costs by measured curves: one for decoding, one for prompts, for each number of
sequences that was measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Curve, Operation, Provenance

Sizes = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionWork:
    """Passes over ``sequences``, each from position ``first`` to ``end``; arrays of one shape."""

    sequences: Sizes
    first: Sizes
    end: Sizes

    def at(self, chosen: NDArray[np.bool_]) -> "AttentionWork":
        """Some of the passes."""
        return AttentionWork(
            sequences=self.sequences[chosen], first=self.first[chosen], end=self.end[chosen]
        )


Formula = Callable[[AttentionWork], Sizes]
"""Roofline durations in ns."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FromCurves:
    """Durations in ns, where they were taken from a curve at all, where that curve was left, and
    where the curves come from.
    """

    ns: Sizes
    is_measured: NDArray[np.bool_]
    is_outside: NDArray[np.bool_]
    provenances: tuple[Provenance, ...]


def from_curves(curves: Sequence[Curve], work: AttentionWork, formula: Formula) -> FromCurves:
    """The measured duration where the very pass was measured; elsewhere that of the nearest, scaled
    by the ratio of rooflines.

    One token a sequence is decoding, priced by its context; more are a prompt, priced by its tokens
    as if from position 0. ``work`` has one dimension.
    """
    ns = formula(work)
    is_measured = np.zeros(len(work.end), bool)
    is_outside = np.zeros(len(work.end), bool)
    provenances: list[Provenance] = []
    is_decode = work.end - work.first == 1
    for operation, chosen in (
        (Operation.ATTENTION_DECODE, is_decode),
        (Operation.ATTENTION_PREFILL, ~is_decode),
    ):
        own = [curve for curve in curves if curve.operation is operation]
        for count in np.unique(work.sequences[chosen]).tolist() if own else ():
            # Nearest by ratio: a kernel for 8 sequences is as far from 4 as from 16.
            curve = min(own, key=lambda one: abs(np.log(one.shape["sequences"] / count)))
            here = chosen & (work.sequences == count)
            ns[here], is_outside[here] = _scaled(curve, work.at(here), formula)
            is_measured |= here
            provenances.append(curve.provenance)
    return FromCurves(
        ns=ns, is_measured=is_measured, is_outside=is_outside, provenances=tuple(provenances)
    )


def _scaled(curve: Curve, work: AttentionWork, formula: Formula) -> tuple[Sizes, NDArray[np.bool_]]:
    is_decode = curve.operation is Operation.ATTENTION_DECODE
    x = work.end if is_decode else work.end - work.first
    measured_x = np.clip(x, *curve.range)
    # Measured was a single token behind its context, or a whole prompt.
    first = measured_x - 1 if is_decode else np.zeros_like(measured_x)
    nearest = AttentionWork(
        sequences=np.full_like(x, curve.shape["sequences"]), first=first, end=measured_x
    )
    is_same = (
        (nearest.sequences == work.sequences)
        & (nearest.first == work.first)
        & (nearest.end == work.end)
    )
    return curve.duration_ns(measured_x) * np.where(
        is_same, 1.0, formula(work) / formula(nearest)
    ), ~is_same
