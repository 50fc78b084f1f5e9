"""Making a machine from the parts of a line, every number with its source."""

from hwprofiles.machine import Gpu, Host, Machine, OtherGpu, Store
from hwprofiles.parts.cpu_numbers import cpu_of
from hwprofiles.parts.gpu_numbers import gpu_of, no_gpu
from hwprofiles.parts.library import PartsLibrary, parts_library
from hwprofiles.parts.line import PartsLine, parse_line
from hwprofiles.parts.link_numbers import link_of, no_link
from hwprofiles.parts.rig import ASSUMED_DATE, Rig, RigGpu, complete
from hwprofiles.quantity import Kind, Quantity
from hwprofiles.units import GIB


def machine_of_line(text: str) -> Machine:
    """Return the machine of a line of parts. Raises InputError, one line, for parts that are not
    understood or do not fit together.
    """
    library = parts_library()
    return machine_of_parts(parse_line(text, library), library)


def comes_with_memory(text: str) -> bool:
    """Whether a line names a GPU that is sold in one piece with its CPU and memory, such as Apple's
    or GH200. Raises InputError as ``machine_of_line`` does.
    """
    library = parts_library()
    names = [item.name for item in parse_line(text, library).gpus]
    return any(part.host is not None for name in names for part in library.gpus[name])


def machine_of_parts(line: PartsLine, library: PartsLibrary) -> Machine:
    """The machine of a line that was read. Raises InputError for parts that do not fit together."""
    rig = complete(line, library)
    cpu = cpu_of(rig, library)
    # The first GPU named is the machine's own; policies plan for it, runtimes use the others too.
    first, *others = rig.gpus or (None,)
    return Machine(
        format="rosin-machine/1",
        name=line.text,
        description=_description(rig),
        gpu=no_gpu(cpu) if first is None else _gpu(first, library),
        cpu=cpu,
        link=no_link(cpu) if first is None else link_of(first, library),
        host=_host(),
        disk=_disk(rig, library),
        other_gpus=tuple(_other(gpu, library) for gpu in others if gpu is not None),
        assumptions=rig.assumptions,
    )


def _gpu(gpu: RigGpu, library: PartsLibrary) -> Gpu:
    return gpu_of(gpu.part, gpu.count, library)


def _other(gpu: RigGpu, library: PartsLibrary) -> OtherGpu:
    return OtherGpu(gpu=_gpu(gpu, library), link=link_of(gpu, library))


def _description(rig: Rig) -> str:
    """One sentence that names all parts, the assumed ones too."""
    cards = [f"{gpu.count} x {gpu.part.name} of {_gib(gpu.part.memory_bytes)}" for gpu in rig.gpus]
    sockets = f"{rig.sockets} x " if rig.sockets > 1 else ""
    num_bytes = rig.memory.num_bytes
    size = "memory of unknown size" if num_bytes is None else f"{_gib(num_bytes)} of memory"
    return f"From parts: {', '.join(cards) or 'no GPU'}, {sockets}{rig.cpu.name}, {size}."


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / GIB:g} GiB"


def _host() -> Host:
    source = "nothing is known of this machine's software; a system's overhead is its policy's"
    nothing = Quantity(value=0, kind=Kind.ASSUMED, source=source, date=ASSUMED_DATE)
    return Host(layer_overhead_ns=nothing, step_overhead_ns=nothing)


def _disk(rig: Rig, library: PartsLibrary) -> Store | None:
    item = rig.line.disk
    if item is None or item.bytes_per_s is None:
        return None
    rate = Quantity(
        value=item.bytes_per_s,
        kind=Kind.DATASHEET,
        source=f"the parts line: {item.text}",
        date=ASSUMED_DATE,
        # The rate in a line is the box's, as that of memory is, so a share of it is reached.
        efficiency=library.efficiencies.disk,
    )
    latency = Quantity(
        value=100e3,
        kind=Kind.ASSUMED,
        source="order of one flash read: 0.1 ms",
        date=ASSUMED_DATE,
    )
    return Store(name=item.text, bytes_per_s=rate, latency_ns=latency)
