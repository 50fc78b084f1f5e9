"""A comparison with measured rows, for a person: errors by group, and rows without a prediction."""

from collections import Counter
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rosin.commands.accuracy.choices_page import choices_page
from rosin.report.tables import name_column, number_column, plain_table
from validation.accuracy import AccuracyResult, GroupAccuracy, PointAccuracy

SHOWN_REASONS = 12
SHOWN_ROWS = 20
"""The most rows that are shown one by one: of so few a person asks whether each is normal."""


def accuracy_page(result: AccuracyResult) -> Iterator[RenderableType]:
    """Yield few rows one by one, a table for each phase, the baselines, and the rows left out.

    The rows left out stand with their reasons.
    """
    yield from _each_row(result)
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


def _each_row(result: AccuracyResult) -> Iterator[RenderableType]:
    rows = [row for row in result.rows if row.reason is None]
    if not 0 < len(rows) <= SHOWN_ROWS:
        return
    table = plain_table(
        name_column("row"),
        name_column("tokens/s of"),
        *(number_column(name) for name in ("measured", "predicted", "range")),
        name_column("measured is"),
    )
    for row in rows:
        for phase, point in (("decode", row.decode), ("prefill", row.prefill)):
            if point is not None:
                table.add_row(row.id, phase, *_point_cells(point))
    yield table
    yield Text(
        f"{result.coverage_fraction:.0%} of the rows of a published machine left out are inside the range"
    )


def _point_cells(point: PointAccuracy) -> tuple[str, ...]:
    if point.measured_tokens_per_s < point.low_tokens_per_s:
        verdict = "slower"
    elif point.measured_tokens_per_s > point.high_tokens_per_s:
        verdict = "faster"
    else:
        verdict = "inside"
    # Three digits, so that a measurement just outside does not read like the end of its range.
    return (
        f"{point.measured_tokens_per_s:.3g}",
        f"{point.predicted_tokens_per_s:.3g}",
        f"{point.low_tokens_per_s:.3g}–{point.high_tokens_per_s:.3g}",
        verdict,
    )


def percent(fraction: float | None) -> str:
    """Return a share in per cent, or a dash for None."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def reasons(result: AccuracyResult) -> list[tuple[str, int]]:
    """Return why rows have no prediction, each reason with its number of rows, the most first."""
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
        percent(item.coverage_over_rigs_fraction),
        percent(item.order_fraction),
    )


SHOWN = (0, 2, 3, 5, 6, 7, 8)
"""The places of the columns that fit a terminal; the written page has all columns."""

HEADINGS = (
    *("rows", "machines", "median", "90th", "over machines", "bias"),
    *("covered", "of a machine", "ordered"),
)


def _table(groups: list[GroupAccuracy]) -> Table:
    table = plain_table(name_column("group"), *(number_column(HEADINGS[index]) for index in SHOWN))
    everything = groups[0]
    for item in groups:
        # A group of all rows would say again what the first line says.
        if item is not everything and item.num_points == everything.num_points:
            continue
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
