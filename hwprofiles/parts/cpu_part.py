"""CPUs of the library, as their makers list them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hwprofiles.parts.gpu_part import Citation
from hwprofiles.parts.rows import rows_of
from hwprofiles.units import GB, GIGAHERTZ

M2_LANES = 4
"""Lanes of an M.2 slot (PCI Express M.2 specification)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreDesign:
    """The properties that the cores of one generation share.

    Operations are those of one core in one cycle, by compute type; a multiply and an add count as
    two. ``vector_bits`` is the width of the units that compute, which may be half the width of the
    instructions.
    """

    name: str
    vector_bits: int
    instructions: tuple[str, ...]
    operations_per_cycle: Mapping[str, int]
    e_core_operations_per_cycle: Mapping[str, int]
    listed: Citation


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPart:
    """A CPU of one socket.

    ``cores`` counts performance cores; ``e_cores`` counts the efficiency cores beside them. Clocks
    are None where no source states them. A disk takes ``disk_lanes`` of the PCIe ``lanes``; GPUs
    share the others. ``sockets`` is the most that work together. ``memory`` is None where it comes
    with a GPU that states it.
    """

    name: str
    family: str
    design: CoreDesign
    kind: str
    cores: int
    e_cores: int
    threads_per_core: int
    base_hz: float | None
    boost_hz: float | None
    all_core_hz: float | None
    sockets: int
    numa_nodes: int
    memory: str | None
    other_memory: str | None
    channels: int
    mt_per_s: int
    most_memory_bytes_per_s: float | None
    pcie_generation: int | None
    lanes: int | None
    disk_lanes: int
    listed: Citation


def core_designs(data: Mapping[str, Any]) -> dict[str, CoreDesign]:
    """The generations of cores of the data file, by name."""
    return {row["name"]: _design(row) for row in data["cores"]}


def cpu_parts(family: Mapping[str, Any], designs: Mapping[str, CoreDesign]) -> Iterator[CpuPart]:
    """The CPUs of one family of the data file, in its order."""
    for own in rows_of(family, "cpus"):
        yield _part(family, own, designs[family["cores"]])


def _design(row: Mapping[str, Any]) -> CoreDesign:
    return CoreDesign(
        name=row["name"],
        vector_bits=row["vector_bits"],
        instructions=tuple(row["instructions"]),
        operations_per_cycle=row["operations_per_cycle"],
        e_core_operations_per_cycle=row.get(
            "e_core_operations_per_cycle",
            row["operations_per_cycle"],
        ),
        listed=Citation(source=row["source"], date=row["date"]),
    )


def _part(family: Mapping[str, Any], own: Mapping[str, Any], design: CoreDesign) -> CpuPart:
    # What differs within a family is the row's, all else the family's.
    both = dict(family.get("pcie", {})) | dict(family) | dict(own)
    most = family.get("most_memory_gb_per_s")
    return CpuPart(
        name=own["name"],
        family=family["name"],
        design=design,
        kind=family["kind"],
        cores=own["cores"],
        e_cores=own.get("e_cores", 0),
        threads_per_core=both["threads_per_core"],
        base_hz=_hertz(own, "base_ghz"),
        boost_hz=_hertz(own, "boost_ghz"),
        all_core_hz=_hertz(own, "all_core_ghz"),
        sockets=both["sockets"],
        numa_nodes=family.get("numa_nodes", 1),
        memory=family.get("memory"),
        other_memory=both.get("other_memory"),
        channels=family.get("channels", 0),
        mt_per_s=both.get("mt_per_s", 0),
        most_memory_bytes_per_s=None if most is None else most * GB,
        pcie_generation=both.get("generation"),
        lanes=both.get("lanes"),
        disk_lanes=both.get("disk_lanes", M2_LANES),
        listed=Citation(source=family["source"], date=family["date"]),
    )


def _hertz(own: Mapping[str, Any], key: str) -> float | None:
    return own[key] * GIGAHERTZ if key in own else None
