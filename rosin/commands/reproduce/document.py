"""A reproduction in figures: what its JSON shows."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rosin.report.checking_documents import (
    ReproducedCell,
    ReproducedClaim,
    ReproducedTable,
    ReproducedTarget,
    ReproduceResult,
)
from validation.published import ALL, Cell, Claim, Overview, Reproduction, claims_of


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
        claims=[_claim(claim) for claim in claims_of(reproduction)],
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
        claims=[_claim(claim) for claim in page.claims],
        paths=[str(path) for path in paths],
    )


def _claim(claim: Claim) -> ReproducedClaim:
    return ReproducedClaim(**asdict(claim) | {"verdict": str(claim.verdict)})


def _cell(cell: Cell) -> ReproducedCell:
    comparisons = {other.label: other.simulated for other in cell.comparisons}
    return ReproducedCell(
        **asdict(cell) | {"comparisons": comparisons, "error_fraction": cell.error_fraction}
    )
