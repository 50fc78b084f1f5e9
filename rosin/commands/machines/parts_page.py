"""The library of parts as a page of the reference: every part with its numbers, every family with
its sources.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from hwprofiles import Efficiency, Quantity
from hwprofiles.efficiencies import efficiencies
from hwprofiles.parts import CpuPart, GpuPart, PartsLibrary
from hwprofiles.units import GB, GIB, GIGAHERTZ, TERA

Part = TypeVar("Part", GpuPart, CpuPart)

HEAD = """# Parts: GPUs and CPUs that a line may name

This page is written by `rosin machines parts -o docs/reference/parts.md` from
`hwprofiles/parts/*.yaml`; a test holds the two equal. How a line is written is in
[Your PC in one line](../how-to/pc-in-one-line.md); what is made of these numbers, in
[Machine files](machines.md#machines-from-parts). An empty cell is a number that no source states.

"""


IN_COMMON = {
    "unified": "memory in common, what the GPU may take",
    "shared": "memory of a CPU, what the graphics inside it may take",
}
"""The kinds of memory that a GPU shares with a CPU, in words."""


def parts_page(library: PartsLibrary) -> str:
    """Return the page that lists all parts, as Markdown."""
    sizes = [part for parts in library.gpus.values() for part in parts]
    lines = [*_share_lines(), *_gpu_lines(sizes), *_cpu_lines(library.cpus.values())]
    return HEAD + "\n".join(lines) + "\n"


def _share_lines() -> Iterator[str]:
    yield "## From datasheet to what is reached"
    yield ""
    yield "A number of the lists below is multiplied by the share of its class."
    yield "From and to are the lowest and the highest known."
    yield ""
    yield "| applied to | share | from | to | kind | source |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, share in _shares():
        low, high = share.range
        yield _row(name, f"{share.value:g}", f"{low:g}", f"{high:g}", str(share.kind), share.source)
    yield ""


def _shares() -> Iterator[tuple[str, Efficiency | Quantity]]:
    """Yield every share of the data file, after words that name what the share applies to."""
    shares = efficiencies()
    for kind, share in shares.memory.items():
        yield (
            f"memory of a {kind} CPU" if kind != "unified" else "memory in common, read by the CPU",
            share,
        )
    yield "memory of two sockets, weights spread over both", shares.sockets
    for kind, share in shares.gpu_memory.items():
        own = f"memory of a GPU, {kind}"
        yield own if kind != "unified" else "memory in common, read by the GPU", share
    for kind, quantity in shares.serial_fraction.items():
        yield f"the shorter of reading and arithmetic, copies within the card {kind}", quantity
    for maker, share in shares.reported_memory.items():
        yield IN_COMMON.get(maker, f"size of a GPU's memory, {maker}"), share
    yield "products on a GPU", shares.gpu_compute
    yield "products on a CPU", shares.cpu_compute
    yield "link, pinned", shares.link
    yield "link, pageable, up to PCIe 4.0 x16", shares.pageable
    yield "disk", shares.disk
    yield "bytes/s of one thread", shares.threads.one_thread_bytes_per_s
    yield "more threads than cores", shares.threads.smt
    yield "threads on P and E cores", shares.threads.e_cores


def _gpu_lines(parts: list[GpuPart]) -> Iterator[str]:
    names = len({part.name for part in parts})
    yield f"## GPUs ({names})"
    yield ""
    yield "Memory as on the box; rates are dense peaks, 16 bit with products accumulated in 32."
    for family, members in _families(parts):
        # Parts of a family have their sources in common, so the first has them for all.
        first = members[0]
        yield ""
        yield f"### {family}"
        yield ""
        rates = first.rates
        yield f"{first.listed.source} ({first.listed.date})."
        yield f"Rates: {rates.source} ({rates.date}), kind {rates.kind}."
        yield ""
        yield "| GPU | GB | GB/s | 16 bit TFLOP/s | 8 bit T/s | PCIe |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield from (_gpu_row(part) for part in members)


def _gpu_row(part: GpuPart) -> str:
    rates = part.operations_per_s
    wide = next((rates[name] for name in ("bf16", "fp16", "f32") if name in rates), None)
    narrow = next((rates[name] for name in ("fp8", "int8") if name in rates), None)
    in_common = "the CPU's memory" if part.is_inside_cpu else "memory in common"
    return _row(
        part.name,
        "" if part.is_inside_cpu else f"{part.memory_bytes // GIB}",
        "" if part.is_inside_cpu else f"{part.memory_bytes_per_s / GB:g}",
        _tera(wide),
        _tera(narrow),
        f"{part.pcie_generation}.0 x{part.lanes}" if part.lanes else in_common,
    )


def _cpu_lines(parts: Iterable[CpuPart]) -> Iterator[str]:
    members_of = list(parts)
    yield ""
    yield f"## CPUs ({len(members_of)})"
    yield ""
    yield "Cores are performance cores + efficiency cores of one socket; clocks in GHz."
    for family, members in _families(members_of):
        yield ""
        yield f"### {family}"
        yield ""
        yield from _shared(members)
        yield ""
        yield "| CPU | cores | base | boost | all cores | memory MT/s |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield from (_cpu_row(part) for part in members)


def _shared(members: list[CpuPart]) -> Iterator[str]:
    """Yield the properties and the sources that a family of CPUs shares.

    Where the members differ, a property lists all their values.
    """
    # Channels, generation of PCIe and sources are in common, so the first has them for all.
    part = members[0]
    design = part.design
    others = dict.fromkeys(each.other_memory for each in members if each.other_memory)
    kinds = " or ".join(name for name in (part.memory, *others) if name)
    listed = f"{part.channels} channels of {kinds}"
    memory = listed if part.memory else "memory in common with the GPU, or its own"
    most = max(each.sockets for each in members)
    sockets = "1 socket" if most == 1 else f"up to {most} sockets"
    link = _link(members)
    yield f"{memory}, {link}, {sockets}; {', '.join(design.instructions)};"
    operations = ", ".join(f"{name} {count}" for name, count in design.operations_per_cycle.items())
    yield f"operations a core and cycle: {operations}. {part.listed.source} ({part.listed.date}). "
    yield f"Cores: {design.listed.source} ({design.listed.date})."


def _link(members: list[CpuPart]) -> str:
    generation = members[0].pcie_generation
    if generation is None:
        return "PCIe not listed"
    lanes = {each.lanes for each in members if each.lanes is not None}
    if not lanes:
        return f"PCIe {generation}.0"
    few, many = min(lanes), max(lanes)
    return f"PCIe {generation}.0, {few if few == many else f'{few} to {many}'} lanes"


def _cpu_row(part: CpuPart) -> str:
    cores = f"{part.cores} + {part.e_cores}" if part.e_cores else f"{part.cores}"
    clocks = [_gigahertz(hertz) for hertz in (part.base_hz, part.boost_hz, part.all_core_hz)]
    return _row(part.name, cores, *clocks, f"{part.mt_per_s}" if part.mt_per_s else "")


def _families(parts: Iterable[Part]) -> Iterator[tuple[str, list[Part]]]:
    """Yield each family with its parts, in the order of the file."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.family, []).append(part)
    yield from found.items()


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _tera(rate: float | None) -> str:
    return "" if rate is None else f"{rate / TERA:.4g}"


def _gigahertz(hertz: float | None) -> str:
    return "" if hertz is None else f"{hertz / GIGAHERTZ:g}"
