"""Rows of parts in the data files: one part a line, its cells under the family's columns."""

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = "-"
"""The text of a cell whose value no source states."""


def rows_of(family: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one family as values by the heading of their column, without the cells that
    no source states.

    Rows are lines of text, as YAML takes ten times as long to read each cell as a value of its own.
    """
    columns = family["columns"]
    for line in family[key].splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        named = zip(columns, cells, strict=True)
        # Absent, not None: a family's own value then holds for the row.
        yield {column: _value(cell) for column, cell in named if cell != ABSENT}


def _value(cell: str) -> int | float | str:
    if cell.isdigit():
        return int(cell)
    try:
        return float(cell)
    except ValueError:
        return cell
