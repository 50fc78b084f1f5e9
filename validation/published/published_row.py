"""Published figures, read from the CSV files beside this code."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

from validation.published.reproduction import Cell

NO_COMPARISONS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One figure of a publication, with its source.

    ``uncertainty`` is in the figure's unit; it is None if none is stated.
    """

    environment: str
    system: str
    input_tokens: int | None
    output_tokens: int | None
    quantity: str
    value: float
    unit: str
    uncertainty: float | None
    mark: str
    source: str


def cell_of(
    row: PublishedRow,
    simulated: float,
    *,
    note: str = "",
    is_scored: bool = True,
    comparisons: Mapping[str, float] = NO_COMPARISONS,
) -> Cell:
    """Return the cell of a published figure and its simulated one, in the same unit."""
    return Cell(
        environment=row.environment,
        system=row.system,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        quantity=row.quantity,
        unit=row.unit,
        published=row.value,
        simulated=simulated,
        mark=row.mark,
        source=row.source,
        note=note,
        is_scored=is_scored,
        comparisons=dict(comparisons),
    )


def published_rows(package: str, file_name: str) -> tuple[PublishedRow, ...]:
    """All rows of one of a package's CSV files, in file order."""
    text = (resources.files(package) / file_name).read_text(encoding="utf-8")
    return tuple(_row(fields) for fields in csv.DictReader(text.splitlines()))


def _row(fields: dict[str, str]) -> PublishedRow:
    return PublishedRow(
        environment=fields["environment"],
        system=fields["system"],
        input_tokens=int(fields["input_tokens"]) if fields["input_tokens"] else None,
        output_tokens=int(fields["output_tokens"]) if fields["output_tokens"] else None,
        quantity=fields["quantity"],
        value=float(fields["value"]),
        unit=fields["unit"],
        uncertainty=float(fields["uncertainty"]) if fields["uncertainty"] else None,
        mark=fields["mark"],
        source=fields["source"],
    )
