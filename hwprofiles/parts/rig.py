"""All parts of a machine: those that a line names, and those that are assumed where it names
none.
"""

from dataclasses import dataclass, replace

from hwprofiles.errors import InputError
from hwprofiles.parts.cpu_part import CpuPart
from hwprofiles.parts.gpu_part import Citation, GpuPart
from hwprofiles.parts.in_common import said_once, total_gib, with_memory
from hwprofiles.parts.library import PartsLibrary
from hwprofiles.parts.line import GpuItem, MemoryModules, PartsLine
from hwprofiles.parts.memory_part import RigMemory, peak_bytes_per_s
from hwprofiles.quantity import Kind
from hwprofiles.units import GIB

ASSUMED_DATE = "2026-11"
NO_MEMORY = "the line names no memory"
"""The beginning of the sentence that says which memory is assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RigGpu:
    """A number of GPUs of one kind, each with its link; ``link_source`` says where the link's
    generation and lanes are from.
    """

    part: GpuPart
    count: int
    generation: int | None
    lanes: int | None
    link_source: str
    is_link_named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """All parts of a machine. ``assumptions`` are sentences on what the line left out."""

    line: PartsLine
    gpus: tuple[RigGpu, ...]
    cpu: CpuPart
    sockets: int
    is_cpu_named: bool
    memory: RigMemory
    assumptions: tuple[str, ...]


class _Assumptions:
    """Gathers the sentences on what is assumed, in their order."""

    def __init__(self) -> None:
        """Start without a sentence."""
        self.found: list[str] = []

    def add(self, sentence: str) -> str:
        """Note a sentence, and return it as the source of a number."""
        self.found.append(sentence)
        return sentence


def complete(line: PartsLine, library: PartsLibrary) -> Rig:
    """Return the parts of a line, with assumed ones for those that it leaves out. Raises InputError
    for parts that cannot be in one machine.
    """
    assumptions = _Assumptions()
    line = said_once(line, library, assumptions.add)
    # GPUs before the CPU: some come with theirs, and all say what kind of CPU is likely.
    parts = [(item, _sized(item, library, assumptions)) for item in line.gpus]
    unified = _unified(parts, line)
    cpu, sockets = _cpu(line, library, parts, assumptions)
    gpus = tuple(_linked(item, part, cpu, sockets, line, assumptions) for item, part in parts)
    memory = (
        _memory(line, cpu, sockets, library, assumptions)
        if unified is None
        else _unified_memory(unified)
    )
    if line.disk is not None and line.disk.bytes_per_s is None:
        assumptions.add(f"{line.disk.text!r} names no rate at which it is read: no disk is used")
    return Rig(
        line=line,
        gpus=tuple(replace(gpu, part=with_memory(gpu.part, memory, line)) for gpu in gpus),
        cpu=cpu,
        sockets=sockets,
        is_cpu_named=line.cpu is not None or any(part.host for _, part in parts),
        memory=memory,
        assumptions=tuple(assumptions.found),
    )


def _sized(item: GpuItem, library: PartsLibrary, assumptions: _Assumptions) -> GpuPart:
    sizes = library.gpus[item.name]
    if item.memory_gib is not None:
        listed = {part.memory_bytes // GIB: part for part in sizes}
        if item.memory_gib in listed:
            return listed[item.memory_gib]
        return _doubled(listed[item.memory_gib // 2], assumptions)
    if len(sizes) > 1:
        others = " or ".join(str(part.memory_bytes // GIB) for part in sizes[1:])
        first = sizes[0].memory_bytes // GIB
        assumptions.add(
            f"{item.name} comes with {first} or {others} GB of memory: {first} GB assumed",
        )
    return sizes[0]


def _doubled(part: GpuPart, assumptions: _Assumptions) -> GpuPart:
    """Return the card with chips of twice the size soldered on; all else stays."""
    gib = part.memory_bytes // GIB
    assumptions.add(
        f"{part.name} is sold with {gib} GB: one of {2 * gib} GB is taken to be as fast",
    )
    # What a process sees was read on the card with its own chips.
    return replace(part, memory_bytes=2 * part.memory_bytes, reported_bytes=None, reported=None)


def _unified(parts: list[tuple[GpuItem, GpuPart]], line: PartsLine) -> GpuPart | None:
    """Return the GPU that comes in one chip with CPU and memory; None where there is none. Raises
    InputError where the line names other such parts beside it.
    """
    unified = [part for _, part in parts if part.is_unified]
    if not unified:
        return None
    count = sum(item.count for item, _ in parts)
    name = unified[0].name
    if count > 1:
        right = "a machine has one of it and no other GPU"
        raise InputError(f"{line.text}: {name} has its memory in common with its CPU, so {right}")
    if unified[0].is_inside_cpu:
        # It is the CPU's, whose parts are named apart.
        return None
    other = line.cpu or line.memory
    if other is not None:
        right = f"leave out {other.text!r} and write its memory as {name} 64GB"
        raise InputError(f"{line.text}: {name} comes with CPU and memory; {right}")
    return unified[0]


def _cpu(
    line: PartsLine,
    library: PartsLibrary,
    parts: list[tuple[GpuItem, GpuPart]],
    assumptions: _Assumptions,
) -> tuple[CpuPart, int]:
    """Return the CPU, named or assumed, and its number of sockets. Raises InputError for too many
    sockets.
    """
    named = line.memory.sockets if line.memory else None
    if line.cpu is not None:
        cpu = library.cpus[line.cpu.name]
        if line.cpu.count > cpu.sockets:
            most = f"works in at most {cpu.sockets} sockets"
            raise InputError(f"part {line.cpu.text!r}: {cpu.name} {most}, got {line.cpu.count}")
        if named is not None and named != line.cpu.count:
            raise InputError(
                f"{line.text}: memory of {named} sockets, CPUs of {line.cpu.count}: write as many",
            )
        return cpu, line.cpu.count
    host = next((part.host for _, part in parts if part.host), None)
    if host is not None:
        return library.cpus[host.cpu], 1
    cpu = library.cpus[_assumed_cpu(line, library, parts)]
    sockets = named or 1
    written = f"{sockets} of " if sockets > 1 else ""
    assumptions.add(
        f"the line names no CPU: {written}{cpu.name} assumed, as such memory and GPUs often have",
    )
    return cpu, sockets


def _assumed_cpu(
    line: PartsLine,
    library: PartsLibrary,
    parts: list[tuple[GpuItem, GpuPart]],
) -> str:
    assumed = library.assumed
    # Cards with HBM are mostly sold in servers; all else is taken to be a desktop.
    if line.memory is None or line.memory.type_name is None:
        is_server = any(part.is_data_centre for _, part in parts)
        return str(assumed["server_cpu"] if is_server else assumed["desktop_cpu"])
    modules = line.memory.modules or 2
    type_name = library.memory_types[line.memory.type_name].taken_as
    fitting = [row for row in assumed["cpus"] if row["memory"] == type_name]
    enough = [row for row in fitting if row["channels"] >= modules]
    # Rows rise by channels: the smallest CPU whose channels hold the modules, else the largest.
    return str((enough or fitting[-1:])[0]["cpu"])


def _memory(
    line: PartsLine,
    cpu: CpuPart,
    sockets: int,
    library: PartsLibrary,
    assumptions: _Assumptions,
) -> RigMemory:
    item = line.memory
    if cpu.memory is None:
        if item is not None:
            raise InputError(f"part {item.text!r}: {cpu.name} comes with its memory; leave it out")
        return _host_memory(line, library)
    if item is None:
        return _assumed_memory(cpu, sockets, assumptions)
    type_name = _memory_type(item, cpu, library, assumptions)
    channels = _channels(item, cpu, sockets, assumptions)
    speed = item.mt_per_s
    if speed is None:
        usual = library.memory_types[type_name].usual_mt_per_s
        speed = cpu.mt_per_s if type_name == cpu.memory else usual
        assumptions.add(f"the line names no speed of memory: {type_name}-{speed} assumed")
    peak = peak_bytes_per_s(channels, speed)
    source = f"the parts line: {item.text}; {channels} channels x {speed} MT/s x 8 bytes"
    # Some CPUs move less than their channels give: the links between their dies bound it.
    if cpu.most_memory_bytes_per_s is not None and peak > cpu.most_memory_bytes_per_s * sockets:
        peak = cpu.most_memory_bytes_per_s * sockets
        source = f"{cpu.listed.source}: all that {cpu.name} moves"
    is_whole = None not in (item.mt_per_s, item.modules, item.module_gib, item.type_name)
    kind = Kind.DATASHEET if is_whole else Kind.ASSUMED
    gib = total_gib(item)
    if gib is None:
        assumptions.add(f"{item.text!r} names no size: it is unknown and limits nothing")
    num_bytes = None if gib is None else gib * GIB
    return RigMemory(
        num_bytes=num_bytes,
        peak_bytes_per_s=peak,
        listed=Citation(source=source, date=ASSUMED_DATE, kind=kind),
    )


def _memory_type(
    item: MemoryModules,
    cpu: CpuPart,
    library: PartsLibrary,
    assumptions: _Assumptions,
) -> str:
    """The kind of memory: as named, else the CPU's. Raises InputError for a kind that the CPU does
    not take.
    """
    assert cpu.memory is not None
    if item.type_name is None:
        assumptions.add(f"{item.text!r} names no kind of memory: {cpu.memory} assumed")
        return cpu.memory
    allowed = [name for name in (cpu.memory, cpu.other_memory) if name]
    taken = library.memory_types[item.type_name].taken_as
    if taken not in [library.memory_types[name].taken_as for name in allowed]:
        raise InputError(
            f"part {item.text!r}: {cpu.name} takes {' or '.join(allowed)}, got {item.type_name}",
        )
    return item.type_name


def _channels(item: MemoryModules, cpu: CpuPart, sockets: int, assumptions: _Assumptions) -> int:
    """The number of channels that have a module, over all sockets; at most as many as the CPUs
    have.
    """
    most = cpu.channels * sockets
    if item.modules is None:
        filled = f"all {most} channels of {cpu.name} assumed to be filled"
        assumptions.add(f"{item.text!r} names no number of modules: {filled}")
        return most
    modules = item.modules * (item.sockets or 1)
    if item.sockets is None and sockets > 1:
        together = f"taken as the modules of all {sockets} sockets together"
        assumptions.add(f"{item.text!r} is {together}; write {sockets}x(...) for each")
    # Two modules on a channel add size but no rate.
    if modules > most:
        assumptions.add(f"{modules} modules of memory share the {most} channels of {cpu.name}")
    return min(modules, most)


def _assumed_memory(cpu: CpuPart, sockets: int, assumptions: _Assumptions) -> RigMemory:
    channels = cpu.channels * sockets
    source = assumptions.add(
        f"{NO_MEMORY}: all {channels} channels of {cpu.name} assumed to be "
        f"filled with {cpu.memory}-{cpu.mt_per_s}, "
        "its listed speed; the size is unknown and limits nothing"
    )
    peak = peak_bytes_per_s(channels, cpu.mt_per_s)
    if cpu.most_memory_bytes_per_s is not None:
        peak = min(peak, cpu.most_memory_bytes_per_s * sockets)
    listed = Citation(
        source=f"{cpu.listed.source}; {source}",
        date=cpu.listed.date,
        kind=Kind.ASSUMED,
    )
    return RigMemory(num_bytes=None, peak_bytes_per_s=peak, listed=listed)


def _host_memory(line: PartsLine, library: PartsLibrary) -> RigMemory:
    part = next(size for item in line.gpus for size in library.gpus[item.name] if size.host)
    assert part.host is not None
    assert part.host.memory_bytes_per_s is not None
    return RigMemory(
        num_bytes=part.host.memory_bytes,
        peak_bytes_per_s=part.host.memory_bytes_per_s,
        listed=part.listed,
    )


def _unified_memory(part: GpuPart) -> RigMemory:
    return RigMemory(
        num_bytes=part.memory_bytes,
        peak_bytes_per_s=part.memory_bytes_per_s,
        listed=part.listed,
    )


def _linked(
    item: GpuItem,
    part: GpuPart,
    cpu: CpuPart,
    sockets: int,
    line: PartsLine,
    assumptions: _Assumptions,
) -> RigGpu:
    """Return the GPU with its link, as named or assumed.

    An assumed link has the older generation of GPU and CPU, and as many lanes as both can give.
    """
    is_linked_otherwise = part.host is not None and part.host.link is not None
    has_own_link = part.pcie_generation is None or is_linked_otherwise
    if item.pcie_generation is not None or has_own_link:
        return RigGpu(
            part=part,
            count=item.count,
            generation=item.pcie_generation,
            lanes=item.lanes,
            link_source=f"the parts line: {item.text}",
            is_link_named=True,
        )
    own = part.pcie_generation
    assert own is not None
    assert part.lanes is not None
    # A link trains at the older generation of its two ends.
    generation = min(own, cpu.pcie_generation or own)
    lanes = _lanes(part.lanes, cpu, sockets, sum(each.count for each in line.gpus))
    both = f"which {part.name} and {cpu.name} both have"
    link = f"{generation}.0 x{lanes} assumed, {both}"
    source = assumptions.add(f"the line names no PCIe of {part.name}: {link}")
    return RigGpu(
        part=part,
        count=item.count,
        generation=generation,
        lanes=lanes,
        link_source=source,
        is_link_named=False,
    )


def _lanes(own: int, cpu: CpuPart, sockets: int, num_gpus: int) -> int:
    """Lanes of one GPU: its own, halved until all GPUs fit in the CPUs' lanes that a disk
    leaves.
    """
    if cpu.lanes is None:
        return own
    share = max(1, (cpu.lanes * sockets - cpu.disk_lanes) // num_gpus)
    lanes = own
    while lanes > share and lanes > 1:
        # Boards split a slot's lanes in halves.
        lanes //= 2
    return lanes
