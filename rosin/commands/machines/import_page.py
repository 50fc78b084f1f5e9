"""The page of an import into a machine: what was read, and how far off the prices are."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from hwprofiles import Machine
from rosin.report.tables import name_column, number_column, plain_table

if TYPE_CHECKING:
    from validation.kernel_tables import GroupedRows, ImportedLayers
    from validation.kernel_tables.import_curves import FormatErrors

_LEGEND = (
    "Errors of the price of a call for a layer's experts, median / 90th percentile: law without "
    "curves, measured with the shape's own curve, left out with those of other shapes alone. * Shapes "
    "that were not measured take the nearest curve, which is nearer than the law; else the law. "
    "Dropped rows are faster than the card's peak."
)


def curves_page(
    machine: Machine, rows: "GroupedRows", errors: Sequence["FormatErrors"]
) -> Iterator[RenderableType]:
    """Yield a table with a row for each format: its shapes, its rows and its errors of prices."""
    yield Text(f"{machine.name}: {machine.gpu.name}\n")
    table = plain_table(
        name_column("format"),
        *(number_column(head) for head in ("shapes", "rows", "dropped", "law", "own", "left out")),
    )
    for one in errors:
        mark = " *" if one.covers_other_shapes else ""
        table.add_row(
            one.dtype,
            str(one.num_shapes),
            f"{one.num_rows:,}",
            f"{one.num_dropped:,}",
            _shares(one.law),
            _shares(one.own),
            f"{_shares(one.left_out)}{mark}" if one.left_out else "–",
        )
    yield table
    yield Text(f"\n{_LEGEND}\n")
    if rows.passed_over:
        yield Text(f"Passed over: {'; '.join(rows.passed_over)}\n")
    yield Text(f"Source (published, {rows.date}): {rows.source}")


_PRODUCTS_LEGEND = (
    "Errors of a product's time, median / 90th percentile: law without tables, left out by the nearest "
    "of the other shapes, which stands in where a model's own shape was not measured."
)


def layers_page(layers: "ImportedLayers") -> Iterator[RenderableType]:
    """Yield the matrix products from which curves of a model's layers were made, and what has no
    curve.
    """
    yield Text(f"\n{layers.num_curves} curves of attention, dense blocks and heads\n")
    table = plain_table(
        name_column("products in"),
        *(number_column(head) for head in ("shapes", "rows", "dropped", "law", "left out")),
    )
    for one in layers.errors:
        table.add_row(
            one.dtype,
            str(one.num_shapes),
            f"{one.num_rows:,}",
            f"{one.num_dropped:,}",
            _shares(one.law),
            _shares(one.left_out),
        )
    yield table
    yield Text(f"\n{_PRODUCTS_LEGEND}\n")
    if layers.left_out:
        yield Text(f"Without a curve: {'; '.join(layers.left_out)}\n")
    yield Text(f"Source: {layers.source}")


def _shares(values: tuple[float, float]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in values) + " %"


def profile_page(
    machine: Machine, read: Sequence[str], passed_over: Sequence[str]
) -> Iterator[RenderableType]:
    """Yield the lines of a computer's profile that were read, then those passed over."""
    yield Text(f"{machine.name}: {machine.gpu.name}\n")
    for line in read:
        yield Text(f"measured: {line}")
    for line in passed_over:
        yield Text(f"passed over, as it is no rate in GB/s: {line}")
