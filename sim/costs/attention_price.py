"""The price of attention by measured curves: for each number of sequences that was measured, one
for decoding and one for prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Curve, Operation, Provenance

Sizes = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionWork:
    """Passes over ``sequences`` sequences, each from position ``first`` to ``end`` (exclusive);
    arrays of one shape.
    """

    sequences: Sizes
    first: Sizes
    end: Sizes

    def at(self, chosen: NDArray[np.bool_]) -> "AttentionWork":
        """Return the chosen passes."""
        return AttentionWork(
            sequences=self.sequences[chosen], first=self.first[chosen], end=self.end[chosen]
        )


Formula = Callable[[AttentionWork], Sizes]
"""Durations in ns by the roofline, for given passes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FromCurves:
    """Durations of passes in ns, and the ``provenances`` of the curves that gave them.

    ``is_measured``: a curve gave the duration. ``is_outside``: the curve does not cover the very
    pass, so its nearest duration was scaled.
    """

    ns: Sizes
    is_measured: NDArray[np.bool_]
    is_outside: NDArray[np.bool_]
    provenances: tuple[Provenance, ...]


def from_curves(curves: Sequence[Curve], work: AttentionWork, formula: Formula) -> FromCurves:
    """Price passes by the nearest curve, in the number of sequences and in the pass.

    Where the very pass was measured, its duration is taken; elsewhere that of the nearest pass,
    scaled by the ratio of rooflines. One token a sequence is decoding, priced by its context. More
    are a prompt, priced by its tokens as if from position 0. Passes for which there is no curve are
    priced by ``formula``. ``work`` has one dimension.
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
