"""A comparison with measured rows for a person: errors by group, and rows that could not be asked."""

from collections import Counter
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rosin.commands.accuracy.choices_page import choices_page
from rosin.report.tables import name_column, number_column, plain_table
from validation.accuracy import AccuracyResult, GroupAccuracy

SHOWN_REASONS = 12


def accuracy_page(result: AccuracyResult) -> Iterator[RenderableType]:
    """A table for each phase, the baselines, and the rows left out with their reasons."""
    how = (
        "each machine by constants of all others"
        if result.leaves_one_rig_out
        else "constants as shipped"
    )
    for phase in dict.fromkeys(item.phase for item in result.summary):
        groups = [item for item in result.summary if item.phase == phase]
        yield Text(f"\n{phase}: errors of predicted tokens/s, {how}")
        yield _table(groups)
        for baseline in result.baselines:
            if baseline.phase == phase:
                yield Text(
                    f"{baseline.baseline}: {_two(baseline.median_error_fraction, baseline.p90_error_fraction)}"
                )
    yield from _left_out(result)
    yield from choices_page(result)


def percent(fraction: float | None) -> str:
    """A share in per cent, a dash where there is none."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def reasons(result: AccuracyResult) -> list[tuple[str, int]]:
    """Why rows cannot be expressed, with how many, most first."""
    counted = Counter(row.reason for row in result.rows if row.reason is not None)
    return counted.most_common()


def group_cells(item: GroupAccuracy) -> tuple[str, ...]:
    """The cells of a group's line after its name."""
    return (
        str(item.num_points),
        str(item.num_rigs),
        percent(item.median_error_fraction),
        percent(item.p90_error_fraction),
        percent(item.median_over_rigs_error_fraction),
        percent(item.bias_fraction),
        percent(item.coverage_fraction),
        percent(item.order_fraction),
    )


SHOWN = (0, 2, 3, 5, 6, 7)
"""Columns that fit a terminal; the page has them all."""

HEADINGS = ("rows", "machines", "median", "90th", "over machines", "bias", "covered", "ordered")


def _table(groups: list[GroupAccuracy]) -> Table:
    table = plain_table(name_column("group"), *(number_column(HEADINGS[index]) for index in SHOWN))
    for item in groups:
        cells = group_cells(item)
        table.add_row(item.group, *(cells[index] for index in SHOWN))
    return table


def _two(median: float, tail: float) -> str:
    return f"median {percent(median)}, 90th percentile {percent(tail)}"


def _left_out(result: AccuracyResult) -> Iterator[RenderableType]:
    found = reasons(result)
    if not found:
        return
    yield Text(f"\n{sum(count for _, count in found)} rows cannot be expressed:")
    for reason, count in found[:SHOWN_REASONS]:
        yield Text(f"{count:4d}  {reason}")
    if len(found) > SHOWN_REASONS:
        yield Text(f"      and {len(found) - SHOWN_REASONS} further reasons (--json has them all)")
