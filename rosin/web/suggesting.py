"""Completions of a line of parts: machines of the library, and parts for the one being typed."""

import re
from collections.abc import Iterator

from hwprofiles import InputError, machine_names
from hwprofiles.parts import CpuPart, PartsLibrary, parts_library
from hwprofiles.parts.line import parse_line
from hwprofiles.units import GIB

MOST = 24
"""The most suggestions at once; nobody reads more."""
MODULES_GIB = (8, 16, 32, 48, 64)
"""The sizes of DDR4 and DDR5 modules on the market, in GiB."""


def suggestions(text: str) -> list[str]:
    """Return whole lines that complete the text, machines first, at most MOST."""
    before, plus, begun = text.rpartition("+")
    head = f"{before.strip()} + " if plus else ""
    library = parts_library()
    # A machine of the library is a whole line, so it does not go behind a plus sign.
    names = [] if plus else [name for name in machine_names() if _has(name, begun)]
    parts = [head + part for part in _parts(begun, before, library)]
    return [*names, *parts][:MOST]


def _parts(begun: str, before: str, library: PartsLibrary) -> Iterator[str]:
    """Yield the parts that complete ``begun``, given the parts ``before`` it."""
    # The CPU says which memory fits, so with a CPU in the line its modules come first.
    cpu = _cpu_in(before, library)
    if cpu is not None:
        yield from (words for words in _memories(cpu) if _has(words, begun))
    elif before.strip():
        yield from (name for name in library.cpus if _has(name, begun))
    for name, sizes in library.gpus.items():
        if _has(name, begun):
            # The name alone means the card's first size.
            yield name
            if len(sizes) > 1:
                yield from (f"{name} {part.memory_bytes // GIB}GB" for part in sizes)
    if not before.strip():
        yield from (name for name in library.cpus if _has(name, begun))


def _cpu_in(text: str, library: PartsLibrary) -> CpuPart | None:
    try:
        item = parse_line(text, library).cpu if text.strip() else None
    # Half a line is no mistake yet: its CPU is not known, that is all.
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
    # "rtx4090" should find "RTX 4090", so spaces and hyphens do not count.
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    words = re.findall(r"[a-z0-9]+", begun.lower())
    return all(word in letters for word in words)
