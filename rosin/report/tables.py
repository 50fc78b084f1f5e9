"""The look of every table: plain rules, nothing cut off, 80 columns enough; and quantities printed
in the unit their name states.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

if TYPE_CHECKING:
    from rosin.report.json_documents import MisfitPolicy, PlanRival
    from sim.costs.memory import Infeasible

UNLIMITED = 10_000
"""A width that no line reaches."""


class _WholeTable(Table):
    """A table that wraps names instead of cutting them off if it is wider than the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._needed_width(console, options) > options.max_width:
            for column in self.columns:
                column.no_wrap = column.no_wrap and column.justify == "right"
        yield from super().__rich_console__(console, options)

    def _needed_width(self, console: Console, options: ConsoleOptions) -> int:
        """Return the width in characters at which every column that must not wrap is whole."""
        unlimited = options.update(width=UNLIMITED)
        # A column has a space of its own and one of the frame before the next.
        needed = 2 * (len(self.columns) - 1)
        for column in self.columns:
            cells = (column.header, *column.cells) if self.show_header else tuple(column.cells)
            spans = [Measurement.get(console, unlimited, cell) for cell in cells]
            widest = max((span.maximum if column.no_wrap else span.minimum) for span in spans)
            needed += widest if column.width is None else column.width
        return needed


def plain_table(*columns: Column, title: str | None = None, has_head: bool = True) -> Table:
    """A table with a rule under its head and no frame.

    Text that does not fit wraps; it is never truncated.
    """
    table = _WholeTable(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.show_header = has_head
    table.show_edge = False
    table.pad_edge = False
    return table


def text_column(name: str, *, width: int | None = None) -> Column:
    """Return a left-aligned column of text; without a width it takes the rest and wraps."""
    return Column(header=name, width=width, overflow="fold")


def name_column(name: str) -> Column:
    """Return a column of names that people copy; it breaks only names that no line has room for."""
    return Column(header=name, no_wrap=True, overflow="fold")


def number_column(name: str, *, width: int | None = None) -> Column:
    """A column of numbers, to the right; without a width it is as wide as its widest."""
    return Column(header=name, justify="right", width=width, no_wrap=width is None, overflow="fold")


def format_quantity(path: str, value: float) -> str:
    """A value in the unit that its dotted name states:

    ``gpu.flops_per_s.bf16`` in TFLOP/s, ``launch_overhead_ns`` in us.
    """
    # Here, as tables of words alone need no machines, whose package takes a tenth of a second.
    from hwprofiles import units

    unit_formats = (
        ("bytes_per_s", units.format_rate),
        ("flops_per_s", units.format_flops),
        ("_bytes", units.format_bytes),
        ("_hz", units.format_clock),
        ("_s", units.format_duration),
    )
    # An efficiency is a plain factor, whatever the unit of the number that it lowers.
    if path.endswith(".efficiency"):
        return f"{value:g}"
    for name in reversed(path.split(".")):
        if name.endswith("_ns"):
            return units.format_duration(value / units.NS_PER_S)
        if name.endswith("_usd"):
            return f"${value:,.0f}"
        for suffix, form in unit_formats:
            if name.endswith(suffix):
                return form(value)
    return f"{value:g}"


def format_count(value: float) -> str:
    """A plain number for a person, three digits: ``0.259``, ``2.73``, ``1,234``; 0 is ``0``."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    # The sharp sign keeps zeros at the end, so that 2.70 has three digits like its neighbours.
    return f"{value:#.3g}".rstrip(".")


def format_share(fraction: float) -> str:
    """Return a fraction in whole percent, with one digit more if it is small or nearly 1.

    ``82 %``, ``0.4 %``; never 0 for a positive fraction, nor 100 for less than 1.
    """
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if 0.995 <= fraction < 1:
        # What is above 99.95 would be rounded to 100.0.
        return f"{min(99.9, 100 * fraction):.1f} %"
    return f"{fraction:.1%}"[:-1] + " %" if 0 < fraction < 0.01 else f"{100 * fraction:.0f} %"


def format_change(fraction: float, digits: int = 0) -> str:
    """Return a change in percent with its sign: ``+18 %``, ``-2.5 %``; a printed 0 has no sign."""
    text = f"{100 * fraction:+.{digits}f}"
    return f"{text} %" if float(text) else f"{text[1:]} %"


def share_bar(fraction: float, width: int) -> str:
    """Return a bar of ``width`` blocks for 1; a fraction above 0 shows at least a sliver."""
    blocks = min(width, round(fraction * width))
    return "█" * blocks if blocks or fraction <= 0 else "▏"


def shortened(text: str, width: int) -> str:
    """Return the text, cut at a word and ended with "…" if it is longer than ``width``.

    A first word that is longer is cut inside. The caller must show the text in full elsewhere.
    """
    if len(text) <= width:
        return text
    cut = text[: width - 1]
    words = cut.rpartition(" ")[0].rstrip(" ,;:")
    return f"{words or cut}…"


def misfit_table(head: str, misfits: Iterable["PlanRival | MisfitPolicy"]) -> Table:
    """Return a table of policies that do not fit, by how much, and why, under the head ``head``."""
    from hwprofiles import units

    table = plain_table(name_column(head), number_column("too much"), text_column("because"))
    for misfit in misfits:
        too_much = units.format_bytes(misfit.missing_bytes or 0)
        table.add_row(misfit.policy, too_much, misfit.reason)
    return table


def shortfall(misfit: "Infeasible") -> str:
    """Return why a policy finds no placement, and how many bytes are too many."""
    from hwprofiles import units

    return f"{misfit.reason}; {units.format_bytes(misfit.missing_bytes)} too much"
