"""The look of every table: plain rules, nothing cut off, 80 columns enough; and quantities printed in the unit their name states."""

from rich import box
from rich.console import JustifyMethod
from rich.table import Column, Table

from hwprofiles import units

UNIT_FORMATS = (
    ("bytes_per_s", units.format_rate),
    ("flops_per_s", units.format_flops),
    ("_bytes", units.format_bytes),
    ("_s", units.format_duration),
)


def plain_table(*columns: Column, title: str | None = None) -> Table:
    """A table with a rule under its head and no frame. Text that does not fit wraps; it is never truncated."""
    return Table(*columns, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def text_column(name: str, *, width: int | None = None) -> Column:
    """A column of text, to the left; without a width it takes what is left and wraps."""
    return _column(name, "left", no_wrap=False, width=width)


def number_column(name: str) -> Column:
    """A column of numbers, to the right, as wide as its widest."""
    return _column(name, "right", no_wrap=True, width=None)


def format_quantity(path: str, value: float) -> str:
    """A value in the unit that its dotted name states: ``gpu.flops_per_s.bf16`` in TFLOP/s, ``launch_overhead_ns`` in us."""
    for name in reversed(path.split(".")):
        if name.endswith("_ns"):
            return units.format_duration(value / units.NS_PER_S)
        if name.endswith("_usd"):
            return f"${value:,.0f}"
        for suffix, form in UNIT_FORMATS:
            if name.endswith(suffix):
                return form(value)
    return f"{value:g}"


def _column(name: str, justify: JustifyMethod, *, no_wrap: bool, width: int | None) -> Column:
    return Column(header=name, justify=justify, no_wrap=no_wrap, width=width, overflow="fold")
