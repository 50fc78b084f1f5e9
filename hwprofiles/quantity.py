"""A number with its provenance: where it comes from, and how far to trust it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_QUANTITY
from hwprofiles.units import parse_number

UNDATED = "undated"
"""The date of a number that was typed on a command line."""

_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


class Kind(StrEnum):
    """The way in which a number was obtained, strongest first."""

    MEASURED = "measured"
    PUBLISHED = "published"
    DATASHEET = "datasheet"
    FITTED = "fitted"
    ASSUMED = "assumed"


STRENGTH = {kind: rank for rank, kind in enumerate(Kind)}
"""Rank of each kind; a larger rank is weaker."""


def _date_text(value: Any) -> str:
    """Return a date as text. YAML reads ``2024`` as an integer and ``2024-02-10`` as a date.

    Raises ValueError for text that is no date.
    """
    text = value.isoformat() if isinstance(value, date) else str(value)
    if text == UNDATED:
        return text
    try:
        if _DATE.fullmatch(text):
            # A year or a month is completed to a day, so that the calendar checks it: 2024-13 is no
            # month.
            date.fromisoformat((text + "-01-01")[:10])
            return text
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a date; write YYYY, YYYY-MM or YYYY-MM-DD")


def _number(value: Any) -> Any:
    """Return a number; text goes through ``parse_number``.

    YAML reads ``50e9`` as text, and ``24GiB`` is easier to check than its bytes.
    """
    # YAML reads yes and on as true, which Python would take for 1.
    if isinstance(value, bool):
        raise ValueError(f"write a number, got {value}")
    return parse_number(value) if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_number)]
"""A number in a file: plain, or text such as ``50e9`` or ``24GiB``."""

SourceDate = Annotated[str, BeforeValidator(_date_text)]
SourceText = Annotated[str, Field(min_length=1, pattern=r"\S")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The origin of a number: the way in which it was obtained, its source and its date.

    ``date`` is the ISO date (or month, or year) of the source, or ``undated``.
    """

    kind: Kind
    source: str
    date: str


def weakest(provenances: Iterable[Provenance]) -> Provenance:
    """Return the weakest of several provenances, the first among equals.

    A result that is made of several numbers has the weakest provenance of theirs. Raises ValueError
    when there is none.
    """
    # max keeps the first of equals, so the source that is named does not depend on chance.
    return max(provenances, key=lambda provenance: STRENGTH[provenance.kind])


class _Spread(FilePart):
    """A number with the lowest and the highest value that its sources know of; None where they
    state none.
    """

    value: Number
    low: Number | None = None
    high: Number | None = None

    @model_validator(mode="after")
    def _value_lies_between(self) -> Self:
        lowest, highest = self.range
        if not lowest <= self.value <= highest:
            raise ValueError(
                f"low <= value <= high must hold, got {lowest:g}, {self.value:g}, {highest:g}"
            )
        return self

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest value; both equal ``value`` where no spread is stated."""
        lowest = self.value if self.low is None else self.low
        highest = self.value if self.high is None else self.high
        return lowest, highest


class Efficiency(_Spread):
    """The share of a peak rate that real work reaches, with its own provenance.

    ``low`` and ``high`` are the lowest and the highest share that is known of parts of that class.
    """

    value: Annotated[Number, Field(gt=0, le=1)]
    low: Annotated[Number, Field(gt=0, le=1)] | None = None
    high: Annotated[Number, Field(gt=0, le=1)] | None = None
    kind: Kind
    source: SourceText
    date: SourceDate


class Quantity(_Spread):
    """A non-negative number with provenance; the unit is in the name of the field that holds it.

    ``value`` is what the source states (a number, or text such as ``24GiB``); ``effective`` is what
    the simulator uses, after the efficiency. ``low`` and ``high`` say how far off the stated value
    may be.
    """

    value: Annotated[Number, Field(ge=0, le=MAX_QUANTITY)]
    low: Annotated[Number, Field(ge=0, le=MAX_QUANTITY)] | None = None
    high: Annotated[Number, Field(ge=0, le=MAX_QUANTITY)] | None = None
    kind: Kind
    source: SourceText
    date: SourceDate
    efficiency: Efficiency | None = None

    @property
    def effective(self) -> float:
        """The value times the efficiency, if one is stated."""
        return self.value * (self.efficiency.value if self.efficiency else 1.0)

    @property
    def effective_range(self) -> tuple[float, float]:
        """The lowest and the highest effective value, by the spreads of value and efficiency; both
        equal ``effective`` where no spread is stated.
        """
        lowest, highest = self.range
        least, most = self.efficiency.range if self.efficiency else (1.0, 1.0)
        return lowest * least, highest * most

    @property
    def provenance(self) -> Provenance:
        """The weaker of the value's and the efficiency's provenance."""
        stated = [Provenance(kind=self.kind, source=self.source, date=self.date)]
        if self.efficiency:
            stated.append(
                Provenance(
                    kind=self.efficiency.kind,
                    source=self.efficiency.source,
                    date=self.efficiency.date,
                )
            )
        return weakest(stated)
