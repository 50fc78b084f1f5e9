"""Making a machine's Cpu from a CPU of the library and its memory."""

from hwprofiles.machine import Cpu
from hwprofiles.parts.cpu_part import CpuPart
from hwprofiles.parts.gpu_part import Citation
from hwprofiles.parts.library import PartsLibrary
from hwprofiles.parts.rig import ASSUMED_DATE, Rig
from hwprofiles.quantity import Efficiency, Kind, Quantity
from hwprofiles.sockets import spread_share
from hwprofiles.threads import derived
from hwprofiles.units import GIGAHERTZ

CALL_NS = 20e3
CALL_SOURCE = "order of waking a thread pool; at most 118 us a split (ik_llama.cpp PR 232)"

UNKNOWN_CLOCK_HZ = 3.0e9
UNKNOWN_CLOCK_RANGE_HZ = (2.0e9, 4.5e9)


def cpu_of(rig: Rig, library: PartsLibrary) -> Cpu:
    """Return the Cpu of a machine: all sockets with their memory."""
    part = rig.cpu
    clock = all_core_clock(part)
    threads = part.cores * rig.sockets
    cpu = Cpu(
        name=part.name if rig.sockets == 1 else f"{rig.sockets} x {part.name}",
        sockets=rig.sockets,
        cores=(part.cores + part.e_cores) * rig.sockets,
        efficiency_cores=part.e_cores * rig.sockets,
        instructions=part.design.instructions,
        vector_bits=part.design.vector_bits,
        clock_hz=clock,
        memory_bytes=_memory_bytes(rig, library),
        memory_bytes_per_s=_memory_rate(rig, library),
        flops_per_s=_rates(part, threads, clock, library),
        call_overhead_ns=Quantity(
            value=CALL_NS,
            kind=Kind.ASSUMED,
            source=CALL_SOURCE,
            date=ASSUMED_DATE,
        ),
        threads=threads,
    )
    counts = _other_counts(part, rig.sockets)
    return cpu.model_copy(update={"by_threads": tuple(derived(cpu, count) for count in counts)})


def _other_counts(part: CpuPart, sockets: int) -> list[int]:
    """Return the other numbers of threads to state rates for, besides one on each performance core.

    They are a quarter and a half of it, one on every core, and as many as the cores take.
    """
    own = part.cores * sockets
    # Memory is often saturated by a part of the cores, so fewer threads may be as fast.
    halved = [own // 4, own // 2]
    physical = own + part.e_cores * sockets
    logical = own * part.threads_per_core + part.e_cores * sockets
    return [count for count in dict.fromkeys((*halved, physical, logical)) if count not in (0, own)]


def all_core_clock(part: CpuPart) -> Quantity:
    """The clock in Hz with all cores busy: as listed, else halfway from base to boost, else base,
    else a guess.
    """
    source = f"{part.name}: {part.listed.source}"
    date = part.listed.date
    base = part.base_hz
    boost = part.boost_hz
    if part.all_core_hz is not None:
        return Quantity(
            value=part.all_core_hz,
            kind=Kind.DATASHEET,
            source=source,
            date=date,
            low=base,
            high=boost,
        )
    if base is not None and boost is not None:
        rule = f"halfway from base to boost, as no clock of all cores is listed; {source}"
        return Quantity(
            # Boost clocks are of one core, base clocks of all under the worst load: all cores lie
            # between.
            value=(base + boost) / 2,
            kind=Kind.ASSUMED,
            source=rule,
            date=date,
            low=base,
            high=boost,
        )
    if base is not None:
        return Quantity(
            value=base,
            kind=Kind.ASSUMED,
            source=f"base clock, no boost is known; {source}",
            date=date,
        )
    low, high = UNKNOWN_CLOCK_RANGE_HZ
    high = boost or high
    rule = f"no source states a base clock of {part.name}: between those of other CPUs"
    return Quantity(
        value=min(UNKNOWN_CLOCK_HZ, high),
        low=min(low, high),
        high=high,
        kind=Kind.ASSUMED,
        source=rule,
        date=ASSUMED_DATE,
    )


def _memory_bytes(rig: Rig, library: PartsLibrary) -> Quantity | None:
    """Bytes of memory of all sockets, or None where unknown. Of memory in common with a GPU, only
    what the GPU leaves.
    """
    memory = rig.memory
    if memory.num_bytes is None:
        return None
    listed = memory.listed
    in_common = next((gpu.part.memory for gpu in rig.gpus if gpu.part.is_unified), None)
    if in_common is None:
        return Quantity(
            value=memory.num_bytes,
            kind=listed.kind,
            source=listed.source,
            date=listed.date,
        )
    share = library.efficiencies.reported_memory[in_common]
    low, high = share.range
    return Quantity(
        value=memory.num_bytes * (1 - share.value),
        low=memory.num_bytes * (1 - high),
        high=memory.num_bytes * (1 - low),
        kind=share.kind,
        source=f"what the GPU leaves of {memory.num_bytes:g} bytes in common; {share.source}",
        date=share.date,
    )


def _memory_rate(rig: Rig, library: PartsLibrary) -> Quantity:
    listed = _weaker(rig.memory.listed, rig)
    return Quantity(
        value=rig.memory.peak_bytes_per_s,
        kind=listed.kind,
        source=listed.source,
        date=listed.date,
        efficiency=memory_share(rig, library),
    )


def memory_share(rig: Rig, library: PartsLibrary) -> Efficiency:
    """The share of all sockets' bandwidth that is reached.

    It is the share of the CPU's kind, lowered where weights are spread over several sockets.
    """
    own = library.efficiencies.memory[rig.cpu.kind]
    return own if rig.sockets == 1 else spread_share(own, rig.sockets)


def _weaker(listed: Citation, rig: Rig) -> Citation:
    if rig.is_cpu_named:
        return listed
    return Citation(
        source=listed.source,
        date=listed.date,
        kind=max(listed.kind, Kind.ASSUMED, key=list(Kind).index),
    )


def _rates(
    part: CpuPart,
    threads: int,
    clock: Quantity,
    library: PartsLibrary,
) -> dict[str, Quantity]:
    """Operations a second by compute type.

    The rate of bf16 is that of f32 where the cores have no bf16. Weights of a type without a rate
    run at the rate of bf16.
    """
    operations = dict(part.design.operations_per_cycle)
    # Without units for bf16, it is widened to f32 and multiplied there.
    operations.setdefault("bf16", operations["f32"])
    return {name: _rate(part, threads, clock, count, library) for name, count in operations.items()}


def _rate(
    part: CpuPart,
    threads: int,
    clock: Quantity,
    operations: int,
    library: PartsLibrary,
) -> Quantity:
    low, high = clock.range
    cycles = f"{threads} cores x {clock.value / GIGAHERTZ:.4g} GHz"
    formula = f"{cycles} x {operations} operations a cycle"
    return Quantity(
        value=threads * clock.value * operations,
        kind=clock.kind,
        source=f"{formula}; {part.design.listed.source}",
        date=part.design.listed.date,
        low=threads * low * operations,
        high=threads * high * operations,
        efficiency=library.efficiencies.cpu_compute,
    )
