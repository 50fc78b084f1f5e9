"""Machines as tables: all in a list, or one with every number and its source."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles import Kind, Machine
from hwprofiles.units import format_bytes, format_rate
from rosin.commands.machines.numbers import EFFICIENCY, MachineSummary, Number
from rosin.report.tables import (
    format_quantity,
    name_column,
    number_column,
    plain_table,
    text_column,
)

SPREAD = "    known from, to"
LEGEND = (
    "Numbers by provenance: "
    + ", ".join(f"{kind[0].upper()} {kind}" for kind in Kind)
    + ". Rates are effective ones."
)


def machine_list(rows: Sequence[MachineSummary]) -> Iterator[RenderableType]:
    """Yield the list with two lines for each machine, and the meaning of its columns."""
    counts = [number_column(kind[0].upper()) for kind in Kind]
    table = plain_table(
        name_column("machine"),
        number_column("VRAM"),
        number_column("H2D"),
        number_column("DRAM"),
        *counts,
    )
    for row in rows:
        name = Text.assemble((row.name, "bold"), f"\n  {_gpu(row)}")
        rates = format_rate(row.h2d_bytes_per_s), format_rate(row.dram_bytes_per_s)
        table.add_row(
            name,
            format_bytes(row.gpu_memory_bytes),
            *rates,
            *(str(row.num_numbers[kind]) for kind in Kind),
        )
    yield table
    yield Text("\n" + LEGEND + " VRAM is of one GPU.")


def _gpu(row: MachineSummary) -> str:
    return row.gpu if row.num_gpus == 1 else f"{row.num_gpus} × {row.gpu}"


def machine_details(machine: Machine, numbers: Sequence[Number]) -> Iterator[RenderableType]:
    """Yield the machine in words, its numbers by part, and the sources in full.

    Each number has its kind of provenance and the number of its source.
    """
    yield Text(f"{machine.name}: {machine.description}\n")
    sources = _numbered_sources(numbers)
    for index, (part, members) in enumerate(_by_part(numbers).items()):
        name = getattr(getattr(machine, part), "name", "")
        # Tables of all parts have equal columns, so one head over the first is enough.
        yield _part_table(
            f"{part}: {name}" if name else part, members, sources, has_head=index == 0
        )
        yield Text()
    yield _source_table(sources)


def _numbered_sources(numbers: Sequence[Number]) -> dict[tuple[str, str], int]:
    """Return the number of each (source, date), counted from 1 in the order of first use."""
    used = dict.fromkeys((number.provenance.source, number.provenance.date) for number in numbers)
    return {source: index for index, source in enumerate(used, start=1)}


def _by_part(numbers: Sequence[Number]) -> dict[str, list[Number]]:
    parts: dict[str, list[Number]] = {}
    for number in numbers:
        parts.setdefault(number.path.split(".")[0], []).append(number)
    return parts


def _part_table(
    title: str, numbers: Sequence[Number], sources: dict[tuple[str, str], int], *, has_head: bool
) -> Table:
    # Fixed widths, so that the columns of all parts stand below each other.
    values = number_column("stated", width=13), number_column("simulated", width=13)
    columns = (
        text_column("number", width=28),
        *values,
        text_column("kind", width=9),
        number_column("source", width=6),
    )
    table = plain_table(*columns, title=title, has_head=has_head)
    for number in numbers:
        provenance = number.provenance
        source = sources[provenance.source, provenance.date]
        table.add_row(_label(number), *_values(number), str(provenance.kind), str(source))
        if number.low is not None or number.high is not None:
            table.add_row(SPREAD, *_spread(number))
    return table


def _source_table(sources: dict[tuple[str, str], int]) -> Table:
    table = plain_table(
        number_column("", width=3),
        text_column("date"),
        text_column("source"),
        title="Sources",
        has_head=False,
    )
    for (source, date), index in sources.items():
        table.add_row(str(index), date, Text(source))
    return table


def _label(number: Number) -> str:
    """The path inside its part; an efficiency stands below the number it lowers."""
    inside = (number.path.partition(".")[2] or number.path).removeprefix("by_threads.")
    return "  × efficiency" if inside.endswith(f".{EFFICIENCY}") else inside


def _spread(number: Number) -> tuple[str, str]:
    """Return the lowest and the highest known value of a number, in words."""
    assert number.value is not None
    # Where a source states one end only, the number itself is the other.
    low, high = (number.value if bound is None else bound for bound in (number.low, number.high))
    return format_quantity(number.path, low), format_quantity(number.path, high)


def _values(number: Number) -> tuple[str, str]:
    """Return the value that the source states and the value that is simulated, in words."""
    if number.value is None:
        return f"{number.num_points} points", ""
    stated = format_quantity(number.path, number.value)
    # What is simulated stands in the row above, which the efficiency is a part of.
    if number.path.endswith(f".{EFFICIENCY}"):
        return stated, ""
    return stated, stated if number.effective_value is None else format_quantity(
        number.path, number.effective_value
    )
