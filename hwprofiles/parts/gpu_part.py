"""GPUs of the library, one for each size of memory, as their makers list them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hwprofiles.parts.rows import rows_of
from hwprofiles.quantity import Kind
from hwprofiles.units import GB, GIB, MEGAHERTZ, MIB, TERA

SHARED = "shared"
"""The value of ``GpuPart.memory`` for graphics inside a CPU, which use the CPU's memory."""

_RATE_ENDING = "_tera"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """The source of a part's numbers, with its date and kind."""

    source: str
    date: str
    kind: Kind = Kind.DATASHEET


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPart:
    """The CPU that is sold in one piece with a GPU. Memory and link are None where the CPU has none
    of its own.
    """

    cpu: str
    memory_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    link: str | None = None
    link_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPart:
    """A GPU with one size of memory.

    ``memory_bytes`` is the size on the box. Size and rate of the memory are 0 for graphics inside a
    CPU, which use the CPU's memory. ``operations_per_s`` holds dense rates by compute type.
    ``reported_bytes`` is the memory that a process sees, where a source states it.
    ``copies_within`` says how copies within the card run: ``asynchronous``, started ``by threads``,
    or ``waiting``; None where unknown. ``pcie_generation`` and ``lanes`` are None for a GPU that
    has its memory in common with the CPU.
    """

    name: str
    family: str
    maker: str
    memory: str
    memory_bytes: int
    memory_bytes_per_s: float
    operations_per_s: Mapping[str, float]
    listed: Citation
    rates: Citation
    pcie_generation: int | None = None
    lanes: int | None = None
    has_ecc_inside: bool = False
    copies_within: str | None = None
    reported_bytes: int | None = None
    reported: Citation | None = None
    host: HostPart | None = None
    aliases: tuple[str, ...] = field(default=())

    @property
    def is_unified(self) -> bool:
        """Whether the GPU has no memory of its own and uses that of the CPU."""
        return self.memory in ("unified", SHARED)

    @property
    def is_inside_cpu(self) -> bool:
        """Whether the GPU is part of a CPU whose memory a line names apart, as modules."""
        return self.memory == SHARED

    @property
    def memory_class(self) -> str:
        """The kind of memory without its generation: HBM, GDDR or unified."""
        if self.is_unified:
            return "unified"
        return next(name for name in ("HBM", "GDDR") if self.memory.startswith(name))

    @property
    def is_data_centre(self) -> bool:
        """Whether the GPU has HBM, which desktop cards lack."""
        return self.memory.startswith("HBM")


def gpu_parts(family: Mapping[str, Any]) -> Iterator[GpuPart]:
    """The GPUs of one family of the data file, in its order."""
    for own in rows_of(family, "gpus"):
        yield _part(family, own)


def _part(family: Mapping[str, Any], own: Mapping[str, Any]) -> GpuPart:
    name = own["name"]
    reported = own.get("reported_mib")
    return GpuPart(
        name=name,
        family=family["name"],
        maker=family["maker"],
        memory=family["memory"],
        memory_bytes=own.get("memory_gib", 0) * GIB,
        memory_bytes_per_s=own.get("memory_gb_per_s", 0) * GB,
        operations_per_s=dict(_rates(family, own)),
        listed=Citation(source=family["source"], date=family["date"]),
        rates=Citation(
            source=family["rates_source"],
            date=family["rates_date"],
            kind=Kind(family.get("rates_kind", Kind.DATASHEET)),
        ),
        pcie_generation=family.get("pcie_generation"),
        lanes=own.get("lanes"),
        has_ecc_inside=family.get("has_ecc_inside", False),
        copies_within=family.get("copies_within"),
        reported_bytes=None if reported is None else reported * MIB,
        reported=_reported(family) if reported is not None else None,
        host=_host(family, name),
        aliases=tuple(family.get("aliases", {}).get(name, ())),
    )


def _rates(family: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield dense operations a second by compute type: as the row states them, or units times clock
    times operations of a unit.
    """
    for key, value in own.items():
        if key.endswith(_RATE_ENDING):
            yield key.removesuffix(_RATE_ENDING), value * TERA
    for key, operations in family.get("operations_per_unit_cycle", {}).items():
        yield key, own["units"] * own["boost_mhz"] * MEGAHERTZ * operations


def _reported(family: Mapping[str, Any]) -> Citation:
    return Citation(
        source=family["reported_source"],
        date=family["reported_date"],
        kind=Kind.PUBLISHED,
    )


def _host(family: Mapping[str, Any], name: str) -> HostPart | None:
    cpu = family.get("host_cpus", {}).get(name)
    if cpu is None:
        return None
    memory = family.get("host_memory")
    link = family.get("link")
    return HostPart(
        cpu=cpu,
        memory_bytes=memory["gib"] * GIB if memory else None,
        memory_bytes_per_s=memory["gb_per_s"] * GB if memory else None,
        link=link["name"] if link else None,
        link_bytes_per_s=link["gb_per_s"] * GB if link else None,
    )
