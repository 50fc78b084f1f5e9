"""Measured rows as points of a phase: the rows that can be priced, stacked into arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.runtimes.constants import Phase
from sim.runtimes.features import Features, stacked
from sim.runtimes.steps import RuntimeSteps, steps_of
from sim.runtimes.work import StepWork
from validation.accuracy.fit import Points
from validation.accuracy.questions import AskedRow


@dataclass(frozen=True, kw_only=True)
class PricedRow:
    """A row with the steps of its question, or with the reason why it has none."""

    asked: AskedRow
    steps: RuntimeSteps | None

    @property
    def measured(self) -> dict[Phase, float]:
        """Measured tokens a second by phase."""
        row = self.asked.row
        both: dict[Phase, float | None] = {
            "decode": row.decode_tokens_per_s,
            "prefill": row.prefill_tokens_per_s,
        }
        # No error is relative to a speed of 0, so such a speed counts as not measured.
        return {phase: speed for phase, speed in both.items() if speed}

    def features(self, phase: Phase) -> Features:
        """Return the features of a phase. The row must have steps."""
        assert self.steps is not None
        return self.steps.decode if phase == "decode" else self.steps.prefill


def priced(asked: AskedRow) -> PricedRow:
    """Return the row with its question placed and its steps counted.

    A question that cannot be placed gives a reason instead of steps.
    """
    if asked.question is None:
        return PricedRow(asked=asked, steps=None)
    try:
        return PricedRow(asked=asked, steps=steps_of(asked.question))
    # One row that cannot be placed must not end the comparison of all others.
    except InputError as error:
        return PricedRow(
            asked=AskedRow(row=asked.row, question=None, reason=str(error)), steps=None
        )


def rows_of_phase(rows: Sequence[PricedRow], phase: Phase) -> list[PricedRow]:
    """The rows that have steps and a measurement of the phase."""
    return [row for row in rows if row.steps is not None and phase in row.measured]


def points_of(rows: Sequence[PricedRow], phase: Phase) -> Points:
    """Return the points of a phase. Each row must have steps and a measurement of the phase."""
    return Points(
        phase=phase,
        features=stacked([row.features(phase) for row in rows]),
        tokens_per_s=np.array([row.measured[phase] for row in rows]),
        rigs=tuple(row.asked.row.rig for row in rows),
    )


def chosen(points: Points, which: NDArray[np.bool_]) -> Points:
    """Return the points at which ``which`` is true."""
    # The first field is the work, which has columns of its own.
    columns = {
        item.name: getattr(points.features, item.name)[which] for item in fields(Features)[1:]
    }
    works = {
        item.name: getattr(points.features.work, item.name)[which] for item in fields(StepWork)
    }
    rigs = tuple(rig for rig, is_kept in zip(points.rigs, which, strict=True) if is_kept)
    return Points(
        phase=points.phase,
        features=Features(work=StepWork(**works), **columns),
        tokens_per_s=points.tokens_per_s[which],
        rigs=rigs,
    )
