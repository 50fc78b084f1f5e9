"""Kinds of memory modules, and the size and bandwidth of a machine's memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwprofiles.parts.gpu_part import Citation
from hwprofiles.units import MILLION

BYTES_PER_TRANSFER = 8
"""Bytes that a channel moves at once.

A channel of DDR3, DDR4 and DDR5 is 64 bits wide (JEDEC JESD79; the two halves of a DDR5 module
together). Channels of LPDDR are narrower: as many as make 64 bits count as one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryType:
    """A kind of memory module, with the slowest and the fastest rate (MT/s) that it is sold with.

    ``usual_mt_per_s`` is the rate of most CPUs that take this kind beside their own. A CPU that
    takes the kind ``taken_as`` takes this kind too: laptops have soldered LPDDR5 where their CPU is
    listed with DDR5.
    """

    name: str
    taken_as: str
    usual_mt_per_s: int
    slowest_mt_per_s: int
    fastest_mt_per_s: int
    listed: Citation


@dataclass(frozen=True, slots=True, kw_only=True)
class RigMemory:
    """Memory of all sockets together; ``num_bytes`` is None where nothing states it."""

    num_bytes: int | None
    peak_bytes_per_s: float
    listed: Citation


def memory_types(data: Mapping[str, Any]) -> dict[str, MemoryType]:
    """The kinds of the data file, by name."""
    return {row["name"]: _type(row) for row in data["types"]}


def peak_bytes_per_s(channels: int, mt_per_s: int) -> float:
    """Return the bytes a second that ``channels`` channels move at most."""
    return channels * mt_per_s * MILLION * BYTES_PER_TRANSFER


def _type(row: Mapping[str, Any]) -> MemoryType:
    return MemoryType(
        name=row["name"],
        taken_as=row.get("taken_as", row["name"]),
        usual_mt_per_s=row["usual_mt_per_s"],
        slowest_mt_per_s=row["slowest_mt_per_s"],
        fastest_mt_per_s=row["fastest_mt_per_s"],
        listed=Citation(source=row["source"], date=row["date"]),
    )
