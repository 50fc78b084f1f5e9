"""Lines with a chip whose GPU and CPU have their memory in common: repetitions are removed, and
graphics inside a CPU get its memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hwprofiles.errors import InputError
from hwprofiles.parts.gpu_part import GpuPart
from hwprofiles.parts.library import PartsLibrary
from hwprofiles.parts.line import GpuItem, MemoryModules, PartsLine
from hwprofiles.parts.memory_part import RigMemory
from hwprofiles.units import GIB


def said_once(
    line: PartsLine,
    library: PartsLibrary,
    assume: Callable[[str], object],
) -> PartsLine:
    """Return the line with each chip that has its memory in common named once.

    Memory that the line names apart becomes the size of the chip. Graphics inside a CPU are left
    out beside a card; ``assume`` gets a sentence on it.
    """
    return _without_idle(_with_size(_merged(line, library), library), library, assume)


def with_memory(part: GpuPart, memory: RigMemory, line: PartsLine) -> GpuPart:
    """Graphics inside a CPU with the CPU's memory; any other GPU as it is. Raises InputError where
    the line does not say how large that memory is.
    """
    if not part.is_inside_cpu:
        return part
    if memory.num_bytes is None:
        right = "write that too, for example 2x32GB DDR5-5600"
        raise InputError(f"{line.text}: {part.name} has the memory of its CPU; {right}")
    return replace(
        part,
        memory_bytes=memory.num_bytes,
        memory_bytes_per_s=memory.peak_bytes_per_s,
        listed=memory.listed,
    )


def _merged(line: PartsLine, library: PartsLibrary) -> PartsLine:
    """Return the line with one item for a chip that is named twice, as in ``Ryzen AI Max+ 395 +
    Radeon 8060S``.
    """
    kept: list[GpuItem] = []
    for item in line.gpus:
        is_chip = library.gpus[item.name][0].is_unified
        known = next((each for each in kept if is_chip and each.name == item.name), None)
        if known is None:
            kept.append(item)
        elif known.memory_gib is None:
            kept[kept.index(known)] = item
    return replace(line, gpus=tuple(kept))


def _with_size(line: PartsLine, library: PartsLibrary) -> PartsLine:
    """Return ``M4 Max + 128GB`` as ``M4 Max 128GB``, where the chip is sold with that size."""
    memory = line.memory
    if memory is None or line.cpu is not None or len(line.gpus) != 1:
        return line
    item = line.gpus[0]
    sizes = library.gpus[item.name]
    part = sizes[0]
    is_sized = part.is_unified and not part.is_inside_cpu and item.memory_gib is None
    gib = total_gib(memory)
    if not is_sized or gib not in [size.memory_bytes // GIB for size in sizes]:
        return line
    return replace(line, gpus=(replace(item, memory_gib=gib),), memory=None)


def _without_idle(
    line: PartsLine,
    library: PartsLibrary,
    assume: Callable[[str], object],
) -> PartsLine:
    inside = [item for item in line.gpus if library.gpus[item.name][0].is_inside_cpu]
    cards = [item for item in line.gpus if item not in inside]
    if not inside or not cards:
        return line
    assume(f"{_named(inside)} is left out beside {_named(cards)}: it has no memory of its own")
    return replace(line, gpus=tuple(cards))


def _named(items: Sequence[GpuItem]) -> str:
    return " and ".join(item.name for item in items)


def total_gib(memory: MemoryModules) -> int | None:
    """The size of all modules in GiB; None where the line writes no size."""
    if memory.module_gib is None:
        return None
    return memory.module_gib * (memory.modules or 1) * (memory.sockets or 1)
