"""All papers, for a person: the claims that are not confirmed, then the confirmed ones."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rosin.commands.reproduce.document import ReproduceResult
from rosin.report.tables import plain_table, text_column
from validation.published import Claim

VERDICTS = ("refuted", "open", "confirmed")


def overview_page(result: ReproduceResult, seed: int) -> Iterator[RenderableType]:
    """Yield the counts, the claims of each verdict, the farthest off first, and the page's path."""
    yield Text(f"{result.title}, seed {seed}")
    counts = {word: _having(result, word) for word in VERDICTS}
    yield Text(", ".join(f"{len(claims)} {word}" for word, claims in counts.items()))
    for word, claims in counts.items():
        if claims:
            yield Text()
            yield _table(word, claims)
    yield Text()
    where = ", ".join(result.paths) or "name a folder with -o"
    yield Text(f"Reasons and assumptions: {where}")


def _having(result: ReproduceResult, verdict: str) -> list[Claim]:
    return [claim for claim in result.claims if claim.verdict == verdict]


def _table(word: str, claims: Sequence[Claim]) -> Table:
    table = plain_table(
        text_column(word.capitalize(), width=34),
        text_column("published", width=18),
        text_column("simulated", width=24),
    )
    for claim in claims:
        table.add_row(f"{claim.paper}: {claim.figure}", claim.published, claim.simulated)
    return table
