"""The words and units of what varies, for axes, tables and summaries."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hwprofiles import units
from planner.study.axes import Value
from rosin.report.tables import format_count, format_quantity

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "link.h2d.bytes_per_s": "link rate, host to GPU",
        "link.d2h.bytes_per_s": "link rate, GPU to host",
        "gpu.memory_bytes": "GPU memory",
        "gpu.memory_bytes_per_s": "GPU memory rate",
        "gpu.launch_overhead_ns": "GPU launch overhead",
        "cpu.memory_bytes": "DRAM",
        "cpu.memory_bytes_per_s": "DRAM rate",
        "cpu.call_overhead_ns": "CPU call overhead",
        "prompt_tokens": "prompt",
        "output_tokens": "output",
        "batch": "batch",
        "expert_slots_per_layer": "expert slots a layer",
    }
)
COUNT_UNITS: Mapping[str, str] = MappingProxyType(
    {"prompt_tokens": "tokens", "output_tokens": "tokens", "batch": "prompts"}
)
UNIT_STEPS = (
    ("bytes_per_s", units.GB, "GB/s"),
    ("flops_per_s", units.TERA, "TFLOP/s"),
    ("memory_bytes", units.GB, "GB"),
    ("_ns", units.NS_PER_US, "us"),
)


def words(path: str) -> str:
    """The path in words, without a unit."""
    if path in WORDS:
        return WORDS[path]
    parts = path.split(".")
    if "flops_per_s" in parts:
        # This path ends in a data type, and the same type has a rate on the CPU and on the GPU.
        return f"{parts[0].upper()} {parts[-1]} rate"
    return path


def unit(path: str) -> tuple[float, str]:
    """Return the divisor of a value and the unit of the quotient; the unit may be empty."""
    # A data type may stand behind the quantity, so the search goes back from the end.
    for part in reversed(path.split(".")):
        for ending, size, name in UNIT_STEPS:
            if part.endswith(ending):
                return size, name
    return 1.0, "USD" if path == "price_usd" else COUNT_UNITS.get(path, "")


def axis_label(path: str) -> str:
    """Return the label of an axis: words and unit."""
    name = unit(path)[1]
    return f"{words(path)} ({name})" if name else words(path)


def short(path: str, value: Value) -> str:
    """Return one value as people read it: ``25.0 GB/s``, ``4``, ``h100``."""
    if isinstance(value, str):
        return value
    return (
        format_quantity(path, value) if unit(path)[1] and path not in COUNT_UNITS else f"{value:g}"
    )


def tick_labels(path: str, values: Sequence[Value]) -> list[str]:
    """The values as numbers in the axis's unit, for ticks."""
    size, _ = unit(path)
    return [value if isinstance(value, str) else format_tick(value / size) for value in values]


def format_tick(value: float) -> str:
    """Return a number for a tick with at most four digits: ``25``, ``0.5``, ``12.9``.

    Numbers from 1000 are written as whole numbers.
    """
    return (
        f"{value:,.0f}"
        if abs(value) >= 1000
        else f"{value:.4g}"
        if float(value).is_integer()
        else format_count(value)
    )


def at_words(at: Mapping[str, Value]) -> str:
    """Return the values of the other axes at which a statement holds.

    Example: ``at batch 4, DRAM rate 60.0 GB/s``; empty without other axes.
    """
    return (
        "at " + ", ".join(f"{words(path)} {short(path, value)}" for path, value in at.items())
        if at
        else ""
    )
