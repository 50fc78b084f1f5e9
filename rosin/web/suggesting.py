"""What a PC's line may go on with: machines of the library, and parts for the one being typed."""

import re
from collections.abc import Iterator

from hwprofiles import InputError, machine_names
from hwprofiles.parts import CpuPart, PartsLibrary, parts_library
from hwprofiles.parts.line import parse_line
from hwprofiles.units import GIB

MOST = 24
"""Suggestions at once: more than that nobody reads."""
MODULES_GIB = (8, 16, 32, 48, 64)
"""Sizes in which modules of DDR4 and DDR5 are sold."""


def suggestions(text: str) -> list[str]:
    """Whole lines to go on with, the likeliest first; at most MOST."""
    before, plus, begun = text.rpartition("+")
    head = f"{before.strip()} + " if plus else ""
    library = parts_library()
    names = [] if plus else [name for name in machine_names() if _has(name, begun)]
    parts = [head + part for part in _parts(begun, before, library)]
    return [*names, *parts][:MOST]


def _parts(begun: str, before: str, library: PartsLibrary) -> Iterator[str]:
    """Parts that the begun one may be, given those before it."""
    cpu = _cpu_in(before, library)
    if cpu is not None:
        yield from (words for words in _memories(cpu) if _has(words, begun))
    elif before.strip():
        yield from (name for name in library.cpus if _has(name, begun))
    for name, sizes in library.gpus.items():
        if _has(name, begun):
            yield name
            if len(sizes) > 1:
                yield from (f"{name} {part.memory_bytes // GIB}GB" for part in sizes)
    if not before.strip():
        yield from (name for name in library.cpus if _has(name, begun))


def _cpu_in(text: str, library: PartsLibrary) -> CpuPart | None:
    try:
        item = parse_line(text, library).cpu if text.strip() else None
    except InputError:
        return None
    return None if item is None else library.cpus[item.name]


def _memories(cpu: CpuPart) -> Iterator[str]:
    """A module in each channel, at the CPU's listed speed."""
    if cpu.memory and cpu.channels and cpu.mt_per_s:
        for size in MODULES_GIB:
            yield f"{cpu.channels}x{size}GB {cpu.memory}-{cpu.mt_per_s}"


def _has(name: str, begun: str) -> bool:
    """Whether every word that was typed is in the name."""
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    words = re.findall(r"[a-z0-9]+", begun.lower())
    return all(word in letters for word in words)
