"""The numbers of a machine as a flat list, each with path, value and provenance."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from hwprofiles import CpuThreads, Curve, Kind, Machine, Provenance, Quantity

EFFICIENCY = "efficiency"


DERIVED_SIZES = ("kv_elements", "score_elements", "value_elements", "params")
"""Sizes of a curve's shape that are left out of its name.

They make the name long, and tell curves apart only if ``hidden``, ``heads`` and ``sequences`` do
not.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One number of a machine file; a curve counts as one number.

    ``value`` is what the source states, and None for a curve. ``effective_value`` is the simulated
    value if an efficiency changes it. ``low`` and ``high`` are the stated spread of ``value``, or
    None. ``num_points`` counts the points of a curve.
    """

    path: str
    value: float | None
    provenance: Provenance
    effective_value: float | None = None
    low: float | None = None
    high: float | None = None
    num_points: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSummary:
    """A machine in one row; its rates are effective rates.

    ``num_numbers`` counts the numbers by kind of provenance, the strongest kind first.
    """

    name: str
    description: str
    gpu: str
    num_gpus: int
    gpu_memory_bytes: float
    h2d_bytes_per_s: float
    dram_bytes_per_s: float
    num_numbers: dict[Kind, int]


def machine_summary(machine: Machine) -> MachineSummary:
    """The row of one machine in the list."""
    return MachineSummary(
        name=machine.name,
        description=machine.description,
        gpu=machine.gpu.name,
        num_gpus=machine.gpu.count,
        gpu_memory_bytes=machine.gpu.memory_bytes.effective,
        h2d_bytes_per_s=machine.link.h2d.bytes_per_s.effective,
        dram_bytes_per_s=machine.cpu.memory_bytes_per_s.effective,
        num_numbers=count_by_kind(machine_numbers(machine)),
    )


def machine_numbers(machine: Machine) -> list[Number]:
    """Every quantity, efficiency and curve, in the order of the file's schema."""
    return list(_walk(machine, ""))


def count_by_kind(numbers: Sequence[Number]) -> dict[Kind, int]:
    """Return the number of numbers of each kind of provenance, the strongest kind first."""
    counts = Counter(number.provenance.kind for number in numbers)
    return {kind: counts[kind] for kind in Kind}


def _walk(node: object, path: str) -> Iterator[Number]:
    if isinstance(node, Quantity):
        yield from _quantity(node, path)
    elif isinstance(node, Curve):
        yield Number(path=path, value=None, provenance=node.provenance, num_points=len(node.points))
    else:
        for key, child in _children(node):
            yield from _walk(child, f"{path}.{key}" if path else key)


def _quantity(quantity: Quantity, path: str) -> Iterator[Number]:
    efficiency = quantity.efficiency
    stated = Provenance(kind=quantity.kind, source=quantity.source, date=quantity.date)
    yield Number(
        path=path,
        value=quantity.value,
        provenance=stated,
        effective_value=quantity.effective if efficiency else None,
        low=quantity.low,
        high=quantity.high,
    )
    # An efficiency has a source of its own, so it counts as a number of its own.
    if efficiency:
        provenance = Provenance(
            kind=efficiency.kind, source=efficiency.source, date=efficiency.date
        )
        yield Number(
            path=f"{path}.{EFFICIENCY}",
            value=efficiency.value,
            provenance=provenance,
            low=efficiency.low,
            high=efficiency.high,
        )


def _children(node: object) -> Iterable[tuple[str, object]]:
    if isinstance(node, BaseModel):
        return ((name, getattr(node, name)) for name in type(node).model_fields)
    if isinstance(node, dict):
        return ((str(key), child) for key, child in node.items())
    if isinstance(node, tuple | list):
        return ((_label(child, index), child) for index, child in enumerate(node))
    return ()


def _label(item: object, index: int) -> str:
    """Return the name of an item of a list.

    A curve is named by what it prices, interference by its two resources, and rates by their
    threads. Any other item is named by its index.
    """
    if isinstance(item, Curve):
        threads = f"{item.threads}_threads" if item.threads else ""
        shape = "×".join(
            str(size) for name, size in item.shape.items() if name not in DERIVED_SIZES
        )
        return ".".join(
            part for part in (item.device, item.operation, item.dtype, shape, threads) if part
        )
    if isinstance(item, CpuThreads):
        return f"{item.threads}_threads"
    # Entries of interference alone have both fields.
    busy = getattr(item, "busy", None)
    slows = getattr(item, "slows", None)
    return f"{busy}_slows_{slows}" if busy and slows else str(index)
