"""The JSON keys of ``rosin reproduce``."""

from collections.abc import Sequence
from pathlib import Path

from rosin.report.document import Document
from validation.published import (
    ALL,
    Claim,
    Overview,
    Reproduction,
    SummaryLine,
    Table,
    claims_of,
)


class ReproduceResult(Document):
    """The result of ``rosin reproduce``; ``paths`` are the files written."""

    name: str
    title: str
    routing: str
    targets: list[SummaryLine]
    tables: list[Table]
    claims: list[Claim]
    paths: list[str]


def reproduction_result(reproduction: Reproduction, paths: Sequence[Path]) -> ReproduceResult:
    """Return the document of one reproduction, with its targets, tables and claims."""
    return ReproduceResult(
        name=reproduction.name,
        title=reproduction.title,
        routing=reproduction.routing,
        targets=list(reproduction.summary),
        tables=list(reproduction.tables),
        claims=list(claims_of(reproduction)),
        paths=[str(path) for path in paths],
    )


def overview_result(page: Overview, paths: Sequence[Path]) -> ReproduceResult:
    """Return the document of all papers' claims; the cells are in each paper's own document."""
    return ReproduceResult(
        name=ALL,
        title="Published figures against the simulator",
        routing="each paper's own, as its page says",
        targets=[],
        tables=[],
        claims=list(page.claims),
        paths=[str(path) for path in paths],
    )
