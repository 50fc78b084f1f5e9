"""The points of a study: rows, which are read on demand, and marks, which are kept."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from hwprofiles import Kind, Provenance
from planner.study.axes import Value
from planner.study.outcome import OBJECTIVE_FIGURES, Outcome
from planner.study.prices import HardwarePrices
from planner.study.study import Study
from rosin.report.document import Document

OutcomesAt = Callable[[Iterable[int]], Iterator[Outcome]]
"""A function that yields the outcomes at these places of a study, in the order of the places."""


class WhatifRow(Document):
    """One point: its value on each axis, its price if known, and its best plan.

    If there is no plan, ``reason`` says why. ``best_named_policy`` is the best lossless named
    system at the point, by the objective. ``named`` has the figures of all named systems that fit.
    """

    values: dict[str, Value]
    price_usd: float | None
    is_feasible: bool
    policy: str | None
    metrics: dict[str, int | float]
    bounds: dict[str, float | None]
    binding_resource: str | None
    best_named_policy: str | None
    named: dict[str, dict[str, float]]
    weakest_kind: str | None
    timeline_digest: str | None
    reason: str | None
    missing_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointMark:
    """The part of a point that is kept, so that points can be compared without their rows.

    ``place`` is its number in the study. ``figure`` is the objective's metric; None if nothing
    fits.
    """

    place: int
    values: Mapping[str, Value]
    price_usd: float | None
    figure: float | None
    policy: str | None
    best_named_policy: str | None
    missing_bytes: int | None

    @property
    def is_feasible(self) -> bool:
        """Return whether the point has a plan."""
        return self.figure is not None


class StudyRows(Sequence[WhatifRow]):
    """The rows of a finished study, in its order.

    A row takes some 20 KB of memory and a mark a few hundred bytes, so only marks are kept.
    """

    def __init__(self, study: Study, outcomes_at: OutcomesAt, prices: HardwarePrices) -> None:
        """Make rows of what ``outcomes_at`` yields, which must not change while they are read."""
        self._study = study
        self._outcomes_at = outcomes_at
        self._prices = prices

    def __len__(self) -> int:
        """Return the number of points."""
        return self._study.num_points

    @overload
    def __getitem__(self, place: int) -> WhatifRow: ...

    @overload
    def __getitem__(self, place: slice) -> list[WhatifRow]: ...

    def __getitem__(self, place: int | slice) -> WhatifRow | list[WhatifRow]:
        """Return the row at a place, or the rows of a slice."""
        places = range(len(self))[place]
        if isinstance(places, range):
            return list(self.at(places))
        return next(self.at([places]))

    def __iter__(self) -> Iterator[WhatifRow]:
        """Yield all rows, one after another."""
        return self.at(range(len(self)))

    def at(self, places: Iterable[int]) -> Iterator[WhatifRow]:
        """Yield the rows at these places, in this order."""
        known = list(places)
        for place, outcome in zip(known, self._outcomes_at(known), strict=True):
            yield self._row(self.marks[place], outcome)

    @cached_property
    def marks(self) -> Sequence[PointMark]:
        """A mark of each point, in the order of the study."""
        return self._scan[0]

    @property
    def weakest(self) -> Sequence[Provenance]:
        """Return the distinct weakest provenances of the points, in the order of the study."""
        return self._scan[1]

    @cached_property
    def _scan(self) -> tuple[list[PointMark], list[Provenance]]:
        """Go through all points once; return their marks and their distinct weakest provenances."""
        marks = []
        stated: dict[Provenance, None] = {}
        points = zip(self._study.points(), self._outcomes_at(range(len(self))), strict=True)
        for place, (point, outcome) in enumerate(points):
            marks.append(self._mark(place, point.values, outcome))
            if outcome.weakest is not None:
                stated.setdefault(_provenance(outcome.weakest))
        return marks, list(stated)

    def _mark(self, place: int, values: tuple[Value, ...], outcome: Outcome) -> PointMark:
        axes = self._study.axes
        return PointMark(
            place=place,
            values={axis.path: value for axis, value in zip(axes, values, strict=True)},
            price_usd=self._prices.price_usd(axes, values, outcome.machine_price_usd),
            figure=outcome.metrics.get(OBJECTIVE_FIGURES[self._study.objective]),
            policy=_shared(outcome.policy),
            # Rivals are kept with the best one first.
            best_named_policy=_shared(next(iter(outcome.rivals), None)),
            missing_bytes=outcome.missing_bytes,
        )

    def _row(self, mark: PointMark, outcome: Outcome) -> WhatifRow:
        return WhatifRow(
            values=dict(mark.values),
            price_usd=mark.price_usd,
            best_named_policy=mark.best_named_policy,
            named=outcome.rivals,
            weakest_kind=outcome.weakest["kind"] if outcome.weakest else None,
            **outcome.model_dump(exclude={"machine_price_usd", "rivals", "weakest"}),
        )


def _shared(name: str | None) -> str | None:
    """Return one string object for all points with that name, to save memory."""
    return None if name is None else sys.intern(name)


def _provenance(stated: Mapping[str, str]) -> Provenance:
    return Provenance(kind=Kind(stated["kind"]), source=stated["source"], date=stated["date"])
