"""The published figures beside this code, and cells made of them."""

from validation.published.published_row import PublishedRow, published_rows
from validation.published.reproduction import Cell, Comparison


def rows(file_name: str) -> tuple[PublishedRow, ...]:
    """All rows of a CSV file beside this code."""
    return published_rows("validation.published.lmcache", f"{file_name}.csv")


def cell_of(
    row: PublishedRow, simulated: float, *, system: str | None = None, note: str = "", comparisons: tuple[Comparison, ...] = ()
) -> Cell:
    """A published figure with what we find for it; ``system`` stands for the row's own where that leaves something open."""
    return Cell(
        environment=row.environment,
        system=system or row.system,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        quantity=row.quantity,
        unit=row.unit,
        published=row.value,
        simulated=simulated,
        mark=row.mark,
        source=row.source,
        note=note,
        comparisons=comparisons,
    )
