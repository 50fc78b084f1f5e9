"""A measurement for a person: rates and overheads, interference, and the curves."""

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from hwprofiles.units import NS_PER_S, format_bytes, format_duration
from rosin.report.checking_documents import MeasureResult
from rosin.report.tables import (
    format_count,
    format_quantity,
    format_share,
    name_column,
    number_column,
    plain_table,
    text_column,
)

RATES = (
    "gpu.memory_bytes_per_s",
    "cpu.memory_bytes_per_s",
    "gpu.flops_per_s",
    "cpu.flops_per_s",
    "link.h2d.bytes_per_s",
    "link.h2d.pageable_bytes_per_s",
    "link.d2h.bytes_per_s",
    "link.d2h.pageable_bytes_per_s",
    "gpu.launch_overhead_ns",
    "cpu.call_overhead_ns",
    "host.hand_over_ns",
    "host.layer_overhead_ns",
)
LANES = ("gpu", "cpu", "h2d", "d2h")
MOST_LEFT_OUT = 6
"""The most lines about what was not measured."""


def measure_page(result: MeasureResult) -> Iterator[RenderableType]:
    """Yield the computer, its rates, how much lanes slow each other, and a line for each curve."""
    yield Text(f"{result.description}\n")
    yield _rates(result.machine)
    yield Text("\nShare of its speed that a lane keeps while another is busy\n", style="bold")
    yield _interference(result.machine)
    yield Text("\nCurves\n", style="bold")
    yield _curves(result.machine)
    spread = format_share(result.median_spread_fraction)
    disturbed = format_share(result.disturbed_fraction)
    yield Text(
        f"\n{result.num_points} points of {result.num_curves} curves, {result.num_rounds} rounds"
    )
    yield Text(f"spread: interquartile range by the median; that of the middle point is {spread}")
    if result.disturbed_fraction:
        yield Text(f"left out: {disturbed} of the samples, in which another process had the core")
    for line in result.left_out[:MOST_LEFT_OUT]:
        yield Text(f"not measured: {line}")
    if len(result.left_out) > MOST_LEFT_OUT:
        yield Text(f"not measured: {len(result.left_out) - MOST_LEFT_OUT} more (--json has them)")
    yield Text(f"Written to {result.path}; every command takes it: --machine {result.path}")


def _rates(machine: dict[str, Any]) -> RenderableType:
    table = plain_table(name_column("number"), number_column("measured"), text_column("from"))
    for path in RATES:
        part: Any = machine
        for key in path.split("."):
            # The file leaves out what was not measured.
            part = part.get(key) if part is not None else None
        if part is None:
            continue
        # Some paths end at one quantity, others at one for each data type.
        quantities = (
            {path: part}
            if "value" in part
            else {f"{path}.{name}": inner for name, inner in part.items()}
        )
        for name, quantity in quantities.items():
            table.add_row(
                name,
                format_quantity(name, quantity["value"]),
                quantity["source"].partition(": ")[2],
            )
    return table


def _interference(machine: dict[str, Any]) -> RenderableType:
    table = plain_table(name_column("lane"), *(number_column(f"{lane} busy") for lane in LANES))
    factors = {
        (entry["busy"], entry["slows"]): entry["rate_fraction"]["value"]
        for entry in machine["interference"]
    }
    for slows in LANES:
        table.add_row(
            slows,
            *(f"{factors[busy, slows]:.2f}" if (busy, slows) in factors else "" for busy in LANES),
        )
    return table


def _curves(machine: dict[str, Any]) -> RenderableType:
    table = plain_table(
        name_column("on"),
        text_column("operation"),
        number_column("sizes"),
        number_column("duration"),
        number_column("spread"),
    )
    for curve in machine["curves"]:
        low, low_ns = curve["points"][0]
        high, high_ns = curve["points"][-1]
        spreads = curve["spread_fractions"]
        table.add_row(
            curve["device"],
            _operation(curve),
            _size(curve, low) if low == high else f"{_size(curve, low)} to {_size(curve, high)}",
            format_duration(low_ns / NS_PER_S)
            if low == high
            else f"{format_duration(low_ns / NS_PER_S)} to {format_duration(high_ns / NS_PER_S)}",
            format_share(sorted(spreads)[len(spreads) // 2]),
        )
    return table


def _operation(curve: dict[str, Any]) -> str:
    """Return a curve's operation, its format, and the sizes that tell its shape from others."""
    shape = curve["shape"]
    operation = curve["operation"].replace("_", " ")
    if "vocab" in shape:
        return f"head {curve['dtype']} {shape['hidden']}×{shape['vocab']}"
    words = [operation, curve.get("dtype", "")]
    if "hidden" in shape:
        words.append(
            "×".join(
                str(shape[key]) for key in ("hidden", "intermediate", "experts") if key in shape
            )
        )
    if shape.get("sequences", 1) > 1:
        words.append(f"of {shape['sequences']}")
    return " ".join(word for word in words if word)


def _size(curve: dict[str, Any], size: float) -> str:
    return (
        format_bytes(size).replace(".00", "")
        if curve["operation"] == "copy"
        else format_count(size)
        if size >= 100
        else str(round(size))
    )
