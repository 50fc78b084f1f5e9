"""The computer at hand as a machine: its system's answers, put into a line of parts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from hwprofiles.errors import InputError
from hwprofiles.machine import Cpu, Machine
from hwprofiles.parts.build import machine_of_parts
from hwprofiles.parts.cpu_part import CoreDesign, CpuPart
from hwprofiles.parts.gpu_part import Citation
from hwprofiles.parts.library import PartsLibrary, parts_library, with_cpu
from hwprofiles.parts.line import parse_line
from hwprofiles.parts.rig import NO_MEMORY
from hwprofiles.parts.system import FoundGpu, FoundModules, FoundSystem, found_system
from hwprofiles.quantity import Kind, Quantity
from hwprofiles.units import GIB

SYSTEM = "the system at hand: /proc/cpuinfo, nvidia-smi, dmidecode"
_NO_MODULES = (
    "the system does not say which memory modules it has (dmidecode, as the administrator, does): "
    "all channels of its CPU assumed to be filled"
)


def detected_machine(found: FoundSystem | None = None) -> Machine:
    """Return the computer at hand, or the system ``found``, as a machine. Nothing is measured.

    A CPU that the library does not know is made from its cores and instructions. Raises InputError
    for a GPU that the library does not know.
    """
    system = found or found_system()
    library = parts_library()
    notes = []
    if not _knows_cpu(system, library):
        part = _unknown_cpu(system, library)
        # The unknown CPU is put into the library, so that all else goes the way of a line of parts.
        library = with_cpu(library, part)
        notes.append(
            f"the library has no CPU {part.name!r}: cores and instructions are the system's own, "
            f"memory channels and rates those of {_model_cpu(system, library).name}"
        )
    if _memory(system, library) is None:
        notes.append(_NO_MODULES)
    machine = machine_of_parts(parse_line(" + ".join(_parts(system, library)), library), library)
    # The line names no memory because the system did not say; the note above says so better.
    kept = [said for said in machine.assumptions if not said.startswith(NO_MEMORY)]
    size = f"{system.memory_bytes / GIB:.0f} GiB of memory"
    return machine.model_copy(
        update={
            "description": machine.description.replace("memory of unknown size", size),
            "cpu": _with_memory(machine, system),
            "assumptions": (*notes, *kept),
        },
    )


def _parts(system: FoundSystem, library: PartsLibrary) -> Iterator[str]:
    for gpu, count in Counter(system.gpus).items():
        yield f"{count}x{_gpu(gpu, library)}" if count > 1 else _gpu(gpu, library)
    name = _library_name(system, library)
    yield f"{system.sockets}x{name}" if system.sockets > 1 else name
    memory = _memory(system, library)
    if memory is not None:
        yield memory


def _memory(system: FoundSystem, library: PartsLibrary) -> str | None:
    """Return the memory as a part; None if the system does not name it, or names none that exists."""
    modules = system.modules
    if modules is None:
        return None
    if modules.type_name.startswith("LP"):
        # A system lists each soldered package, and packages are no channels.
        kinds = _low_power_types(modules, library)
        size = modules.count * modules.gib
        return f"{size}GB {kinds[0]}-{modules.mt_per_s}" if kinds else None
    each, rest = divmod(modules.count, system.sockets)
    if system.sockets > 1 and not rest:
        return f"{system.sockets}x({each}x{modules.gib}GB {modules.type_name}-{modules.mt_per_s})"
    return f"{modules.count}x{modules.gib}GB {modules.type_name}-{modules.mt_per_s}"


def _low_power_types(modules: FoundModules, library: PartsLibrary) -> list[str]:
    """Return the library's types of that generation that run at that rate.

    Systems call LPDDR5X LPDDR5, as the standard of what they report (SMBIOS) has no other name.
    """
    return [
        name
        for name, kind in library.memory_types.items()
        if name.startswith(modules.type_name)
        and kind.slowest_mt_per_s <= modules.mt_per_s <= kind.fastest_mt_per_s
    ]


def _gpu(gpu: FoundGpu, library: PartsLibrary) -> str:
    """The GPU as a part of a line, with the library's size of memory that is nearest to the
    driver's figure.
    """
    names = library.named(_without_size(gpu.name))
    known = [name for name in names if name in library.gpus]
    if not known:
        right = "write the machine from the nearest one: rosin machines new"
        raise InputError(f"the library has no GPU {gpu.name!r}; {right}")
    sizes = library.gpus[known[0]]
    # Drivers report a little less than the box says, so no size is equal.
    nearest = min(sizes, key=lambda part: abs(part.memory_bytes - gpu.memory_bytes))
    size = nearest.memory_bytes // GIB
    link = f" PCIe {gpu.pcie_generation} x{gpu.lanes}" if gpu.pcie_generation and gpu.lanes else ""
    return f"{known[0]} {size}GB{link}"


def _without_size(name: str) -> str:
    words = name.replace("-", " ").split()
    # Names such as "A100-SXM4-80GB" carry the size, which is compared apart.
    return " ".join(word for word in words if not word.upper().endswith("GB"))


def _knows_cpu(system: FoundSystem, library: PartsLibrary) -> bool:
    return any(name in library.cpus for name in library.named(system.cpu_name))


def _library_name(system: FoundSystem, library: PartsLibrary) -> str:
    return next(name for name in library.named(system.cpu_name) if name in library.cpus)


def _model_cpu(system: FoundSystem, library: PartsLibrary) -> CpuPart:
    """The CPU of the library whose memory is assumed for an unknown CPU."""
    # What matters is the number of memory channels: servers have 8 or 12, desktops 2.
    is_server = system.sockets > 1 or any(word in system.cpu_name for word in ("EPYC", "Xeon"))
    return library.cpus[library.assumed["server_cpu" if is_server else "desktop_cpu"]]


def _unknown_cpu(system: FoundSystem, library: PartsLibrary) -> CpuPart:
    """A CPU with the cores, threads and instructions that the system reports; its clocks are not
    known.
    """
    model = _model_cpu(system, library)
    said = Citation(source=SYSTEM, date=date.today().isoformat(), kind=Kind.ASSUMED)
    name = " ".join(system.cpu_name.replace("+", " ").split())
    return replace(
        model,
        name=name,
        family=name,
        design=_design(system.flags, said),
        cores=system.cores,
        # /proc/cpuinfo does not tell efficiency cores apart.
        e_cores=0,
        threads_per_core=max(1, system.threads // (system.cores * system.sockets)),
        memory=model.memory if system.modules is None else system.modules.type_name,
        base_hz=None,
        boost_hz=None,
        all_core_hz=None,
        sockets=max(system.sockets, model.sockets),
        listed=said,
    )


def _design(flags: frozenset[str], said: Citation) -> CoreDesign:
    """The core design that the system's flags show.

    A core is assumed to have two units, of 256 bits with AVX2 and of 128 without it.
    """
    of_flag = {
        "avx2": "avx2",
        "avx512f": "avx512",
        "avx512_vnni": "vnni",
        "avx_vnni": "vnni",
        "avx512_bf16": "bf16",
        "amx_bf16": "amx",
    }
    instructions = dict.fromkeys(word for flag, word in of_flag.items() if flag in flags)
    operations = {"f32": 32 if "avx2" in flags else 16}
    return CoreDesign(
        name="as the system says",
        vector_bits=256 if "avx2" in flags else 128,
        instructions=tuple(instructions),
        operations_per_cycle=operations,
        e_core_operations_per_cycle=operations,
        listed=replace(said, source=f"{said.source}; two multiply-add units a core assumed"),
    )


def _with_memory(machine: Machine, system: FoundSystem) -> Cpu:
    """The machine's CPU with the memory that the system reports, if it reports a size."""
    size = Quantity(
        value=system.memory_bytes,
        kind=Kind.MEASURED,
        source="/proc/meminfo, MemTotal",
        date=date.today().isoformat(),
    )
    if not system.memory_bytes:
        return machine.cpu
    return machine.cpu.model_copy(update={"memory_bytes": size})
