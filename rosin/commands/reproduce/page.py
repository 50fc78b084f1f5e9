"""A reproduction for a person: which targets are met, and how far each table is off."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rosin.commands.reproduce.document import ReproduceResult
from rosin.report.tables import format_count, number_column, plain_table, text_column
from validation.published import Cell, SummaryLine
from validation.published import Table as PublishedTable

# What is not met comes first, since a reader must know of it.
VERDICTS = (
    (False, "Targets not met"),
    (True, "Targets met"),
    (None, "Without a target, or skipped"),
)


def reproduction_page(result: ReproduceResult, seed: int) -> Iterator[RenderableType]:
    """Yield the targets by verdict, the missed first, a line for each table, and the files."""
    yield Text(f"{result.title}: published figures beside simulated ones, seed {seed}")
    yield Text(f"experts are selected by: {result.routing}")
    judged = [line for line in result.targets if line.is_met is not None]
    met = sum(bool(line.is_met) for line in judged)
    rest = len(result.targets) - len(judged)
    yield Text(
        f"{met} of {len(judged)} targets are met; {rest} more figures have none, or were skipped"
    )
    for is_met, title in VERDICTS:
        lines = [line for line in result.targets if line.is_met is is_met]
        if lines:
            yield Text()
            yield _targets(title, lines)
    yield Text()
    yield _tables(result.tables)
    yield Text()
    yield Text(_where(result))


def _targets(title: str, lines: Sequence[SummaryLine]) -> Table:
    table = plain_table(
        text_column(title, width=36), text_column("asked", width=17), text_column("found", width=25)
    )
    for line in lines:
        table.add_row(line.name, line.target, line.found)
    return table


def _tables(tables: Sequence[PublishedTable]) -> Table:
    columns = (
        number_column("cells"),
        number_column("mean error"),
        number_column("worst"),
        text_column("published → simulated", width=22),
    )
    table = plain_table(text_column("Tables", width=29), *columns)
    for published in tables:
        if not any(cell.is_scored for cell in published.cells):
            continue  # the same cells again, under other values of a knob
        worst = max(
            (cell for cell in published.cells if cell.is_scored),
            key=lambda cell: abs(cell.error_fraction),
        )
        figures = (
            str(len(published.cells)),
            f"{published.mean_absolute_error_fraction:.1%}",
            f"{worst.error_fraction:+.1%}",
        )
        table.add_row(published.title, *figures, _pair(worst))
    return table


def _pair(cell: Cell) -> str:
    lengths = "/".join(
        str(count) for count in (cell.input_tokens, cell.output_tokens) if count is not None
    )
    return f"{cell.published:g} → {format_count(cell.simulated)} {cell.unit}{lengths and f' ({lengths})'}"


def _where(result: ReproduceResult) -> str:
    if not result.paths:
        return "Every cell: name a folder with -o, or take --json."
    return f"Every cell is in {', '.join(result.paths)}"
