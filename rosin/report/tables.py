"""The look of every table: plain rules, nothing cut off, 80 columns enough; and quantities printed in the unit their name states."""

from rich import box
from rich.table import Column, Table

from hwprofiles import units

UNIT_FORMATS = (
    ("bytes_per_s", units.format_rate),
    ("flops_per_s", units.format_flops),
    ("_bytes", units.format_bytes),
    ("_s", units.format_duration),
)


def plain_table(*columns: Column, title: str | None = None, has_head: bool = True) -> Table:
    """A table with a rule under its head and no frame. Text that does not fit wraps; it is never truncated."""
    table = Table(*columns, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_header, table.show_edge, table.pad_edge = has_head, False, False
    return table


def text_column(name: str, *, width: int | None = None) -> Column:
    """A column of text, to the left; without a width it takes what is left and wraps."""
    return Column(header=name, width=width, overflow="fold")


def name_column(name: str) -> Column:
    """A column of names that people copy: never broken in two."""
    return Column(header=name, no_wrap=True, overflow="fold")


def number_column(name: str, *, width: int | None = None) -> Column:
    """A column of numbers, to the right; without a width it is as wide as its widest."""
    return Column(header=name, justify="right", width=width, no_wrap=width is None, overflow="fold")


def format_quantity(path: str, value: float) -> str:
    """A value in the unit that its dotted name states: ``gpu.flops_per_s.bf16`` in TFLOP/s, ``launch_overhead_ns`` in us."""
    if path.endswith(".efficiency"):
        return f"{value:g}"
    for name in reversed(path.split(".")):
        if name.endswith("_ns"):
            return units.format_duration(value / units.NS_PER_S)
        if name.endswith("_usd"):
            return f"${value:,.0f}"
        for suffix, form in UNIT_FORMATS:
            if name.endswith(suffix):
                return form(value)
    return f"{value:g}"
