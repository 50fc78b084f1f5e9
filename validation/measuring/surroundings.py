"""The computer itself: its cores, memory and caches, and the versions of the measuring software."""

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from hwprofiles.units import KIB, MIB
from validation.backend.cores import own_cores

UNKNOWN_CACHE_BYTES = 64 * MIB
"""Bytes assumed for the last cache if the system does not state them: more than most CPUs have."""

_PROC = Path("/proc")
_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The computer around a measurement.

    ``cores`` are those that this process may use. ``cache_bytes`` is the size of the computer's
    largest cache.
    """

    cpu: str
    sockets: int
    cores: tuple[int, ...]
    memory_bytes: int
    cache_bytes: int
    software: str


def surroundings() -> Surroundings:
    """Return the surroundings of this process, now."""
    cpu_info = _read(_PROC / "cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", cpu_info, re.M)
    sockets = set(re.findall(r"^physical id\s*: (.*)$", cpu_info, re.M))
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return Surroundings(
        # ARM systems have no model name in this file.
        cpu=names[0].strip() if names else platform.processor() or platform.machine(),
        sockets=max(1, len(sockets)),
        cores=own_cores(),
        memory_bytes=memory_bytes(),
        cache_bytes=cache_bytes(_read(path) for path in _CPUS.glob("cpu[0-9]*/cache/index*/size")),
        software=f"Python {platform.python_version()}, torch {version('torch')}, {system}",
    )


def memory_bytes() -> int:
    """Return the bytes that this process may fill: the computer's, or its container's if that has
    less.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _read(_CGROUP).strip()
    # A group without a limit says "max".
    return min(total, int(limit)) if limit.isdigit() else total


def cache_bytes(sizes: Iterable[str]) -> int:
    """Return the largest of cache sizes as Linux writes them (``491520K``), in bytes."""
    found = [int(size.strip().rstrip("K")) * KIB for size in sizes if size.strip().endswith("K")]
    return max(found, default=UNKNOWN_CACHE_BYTES)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        # Other systems lack these files, and every caller has something to take instead.
        return ""
