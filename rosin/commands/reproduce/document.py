"""A reproduction in figures: what its JSON shows."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rosin.report.json_documents import (
    ReproducedCell,
    ReproducedTable,
    ReproducedTarget,
    ReproduceResult,
)
from validation.published import Cell, Reproduction


def reproduction_result(reproduction: Reproduction, paths: Sequence[Path]) -> ReproduceResult:
    """Every target and every cell."""
    return ReproduceResult(
        name=reproduction.name,
        title=reproduction.title,
        routing=reproduction.routing,
        targets=[ReproducedTarget(**asdict(line)) for line in reproduction.summary],
        tables=[
            ReproducedTable(
                name=table.name,
                title=table.title,
                assumptions=table.assumptions,
                mean_absolute_error_fraction=table.mean_absolute_error_fraction,
                cells=[_cell(cell) for cell in table.cells],
            )
            for table in reproduction.tables
        ],
        paths=[str(path) for path in paths],
    )


def _cell(cell: Cell) -> ReproducedCell:
    comparisons = {other.label: other.simulated for other in cell.comparisons}
    return ReproducedCell(
        **asdict(cell) | {"comparisons": comparisons, "error_fraction": cell.error_fraction}
    )
