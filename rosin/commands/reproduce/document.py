"""What ``rosin reproduce`` writes as JSON, key by key."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rosin.report.document import Document
from validation.published import (
    ALL,
    Cell,
    Claim,
    Overview,
    Reproduction,
    SummaryLine,
    claims_of,
)


class ReproducedCell(Document):
    """A published figure and the simulated one; ``mark`` says where it stands, as
    validation.published does.
    """

    environment: str
    system: str
    input_tokens: int | None
    output_tokens: int | None
    quantity: str
    unit: str
    published: float
    simulated: float
    error_fraction: float
    is_scored: bool
    comparisons: dict[str, float]
    mark: str
    source: str
    note: str


class ReproducedTable(Document):
    """A published table; the mean is over its scored cells."""

    name: str
    title: str
    assumptions: str
    mean_absolute_error_fraction: float
    cells: list[ReproducedCell]


class ReproduceResult(Document):
    """What ``rosin reproduce`` found; ``paths`` are the files written."""

    name: str
    title: str
    routing: str
    targets: list[SummaryLine]
    tables: list[ReproducedTable]
    claims: list[Claim]
    paths: list[str]


def reproduction_result(reproduction: Reproduction, paths: Sequence[Path]) -> ReproduceResult:
    """Every target and every cell."""
    return ReproduceResult(
        name=reproduction.name,
        title=reproduction.title,
        routing=reproduction.routing,
        targets=list(reproduction.summary),
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
        claims=list(claims_of(reproduction)),
        paths=[str(path) for path in paths],
    )


def overview_result(page: Overview, paths: Sequence[Path]) -> ReproduceResult:
    """Every claim of every paper; the cells are in each paper's own document."""
    return ReproduceResult(
        name=ALL,
        title="Published figures against the simulator",
        routing="each paper's own, as its page says",
        targets=[],
        tables=[],
        claims=list(page.claims),
        paths=[str(path) for path in paths],
    )


def _cell(cell: Cell) -> ReproducedCell:
    comparisons = {other.label: other.simulated for other in cell.comparisons}
    return ReproducedCell(
        **asdict(cell) | {"comparisons": comparisons, "error_fraction": cell.error_fraction}
    )
