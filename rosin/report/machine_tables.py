"""Machines as tables: all in a list, or one with every number and its source."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles import Kind, Machine
from hwprofiles.units import format_bytes, format_rate
from rosin.report.machine_numbers import EFFICIENCY, MachineSummary, Number
from rosin.report.tables import format_quantity, number_column, plain_table, text_column

LEGEND = "Numbers by provenance: " + ", ".join(f"{kind[0].upper()} {kind}" for kind in Kind) + ". Rates are effective ones."


def machine_list(rows: Sequence[MachineSummary]) -> Iterator[RenderableType]:
    """The list, two lines a machine, and what its columns mean."""
    counts = [number_column(kind[0].upper()) for kind in Kind]
    table = plain_table(text_column("machine"), number_column("VRAM"), number_column("H2D"), number_column("DRAM"), *counts)
    for row in rows:
        name = Text.assemble((row.name, "bold"), f"\n  {row.num_gpus} × {row.gpu}")
        rates = format_rate(row.h2d_bytes_per_s), format_rate(row.dram_bytes_per_s)
        table.add_row(name, format_bytes(row.gpu_memory_bytes), *rates, *(str(row.num_numbers[kind]) for kind in Kind))
    yield table
    yield Text(LEGEND + " VRAM is of one GPU.")


def machine_details(machine: Machine, numbers: Sequence[Number]) -> Iterator[RenderableType]:
    """The machine in words, then one table a part: every number with its kind, date and source."""
    yield Text(f"{machine.name}: {machine.description}")
    for part, members in _by_part(numbers).items():
        yield _part_table(part, getattr(getattr(machine, part), "name", ""), members)


def _by_part(numbers: Sequence[Number]) -> dict[str, list[Number]]:
    parts: dict[str, list[Number]] = {}
    for number in numbers:
        parts.setdefault(number.path.split(".")[0], []).append(number)
    return parts


def _part_table(part: str, name: str, numbers: Sequence[Number]) -> Table:
    columns = text_column("number", width=24), number_column("value"), text_column("kind"), text_column("date"), text_column("source")
    table = plain_table(*columns, title=f"{part}: {name}" if name else part)
    for number in numbers:
        provenance = number.provenance
        table.add_row(_label(number), _value(number), str(provenance.kind), provenance.date, Text(provenance.source))
    return table


def _label(number: Number) -> str:
    """The path inside its part; an efficiency stands below the number it lowers."""
    inside = number.path.partition(".")[2] or number.path
    return "  × efficiency" if inside.endswith(f".{EFFICIENCY}") else inside


def _value(number: Number) -> str:
    if number.value is None:
        return f"{number.num_points} points"
    if number.path.endswith(f".{EFFICIENCY}"):
        return f"{number.value:g}"
    stated = format_quantity(number.path, number.value)
    return stated if number.effective_value is None else f"{stated}\n→ {format_quantity(number.path, number.effective_value)}"
