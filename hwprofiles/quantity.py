"""A number with its provenance: where it comes from, and how far to trust it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Kind(StrEnum):
    """How a number was obtained, strongest first."""

    MEASURED = "measured"
    PUBLISHED = "published"
    DATASHEET = "datasheet"
    FITTED = "fitted"
    ASSUMED = "assumed"


STRENGTH = {kind: rank for rank, kind in enumerate(Kind)}
"""Rank of each kind; a larger rank is weaker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a number comes from. ``date`` is the ISO date (or month, or year) of the source."""

    kind: Kind
    source: str
    date: str


def weakest(provenances: Iterable[Provenance]) -> Provenance:
    """The weakest of several provenances (the first among equals): what a result made of them may claim.

    Raises ValueError when there is none.
    """
    return max(provenances, key=lambda provenance: STRENGTH[provenance.kind])


class Efficiency(BaseModel):
    """The share of a peak rate that real work reaches, with its own provenance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Annotated[float, Field(gt=0, le=1)]
    kind: Kind
    source: str
    date: str


class Quantity(BaseModel):
    """A non-negative number with provenance; the unit is in the name of the field that holds it.

    ``value`` is what the source states; ``effective`` is what the simulator uses, after the efficiency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: Annotated[float, Field(ge=0)]
    kind: Kind
    source: Annotated[str, Field(min_length=1)]
    date: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
    efficiency: Efficiency | None = None

    @property
    def effective(self) -> float:
        """The value times the efficiency, if one is stated."""
        return self.value * (self.efficiency.value if self.efficiency else 1.0)

    @property
    def provenance(self) -> Provenance:
        """The weaker of the value's and the efficiency's provenance."""
        stated = [Provenance(kind=self.kind, source=self.source, date=self.date)]
        if self.efficiency:
            stated.append(Provenance(kind=self.efficiency.kind, source=self.efficiency.source, date=self.efficiency.date))
        return weakest(stated)
