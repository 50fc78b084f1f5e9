"""Making a machine's Gpu from a GPU of the library."""

from collections.abc import Iterator

from hwprofiles.machine import Cpu, Gpu
from hwprofiles.parts.gpu_part import Citation, GpuPart
from hwprofiles.parts.library import PartsLibrary
from hwprofiles.parts.rig import ASSUMED_DATE
from hwprofiles.quantity import Efficiency, Kind, Quantity

LAUNCH_NS = 5e3
LAUNCH_SOURCE = "order of one launch: a few us; developer.nvidia.com/blog/cuda-graphs (2019)"

ECC_SHARE = 15 / 16
"""The share of GDDR memory that error correction leaves where it is stored there.

Error correction takes 1 of 16 bytes (NVIDIA T4 and L4 product briefs).
"""


def gpu_of(part: GpuPart, count: int, library: PartsLibrary) -> Gpu:
    """Return ``count`` GPUs of one part."""
    efficiencies = library.efficiencies
    share = efficiencies.gpu_compute
    rates = {name: _quantity(*rate, share) for name, rate in _rates(part)}
    gpu = Gpu(
        name=part.name,
        count=count,
        memory_bytes=_memory(part, library),
        memory_bytes_per_s=_quantity(
            part.memory_bytes_per_s,
            part.listed,
            efficiencies.gpu_memory[part.memory_class],
        ),
        flops_per_s=rates,
        launch_overhead_ns=Quantity(
            value=LAUNCH_NS,
            kind=Kind.ASSUMED,
            source=LAUNCH_SOURCE,
            date=ASSUMED_DATE,
        ),
    )

    if part.copies_within is None:
        return gpu
    return gpu.model_copy(
        update={"serial_fraction": efficiencies.serial_fraction[part.copies_within]},
    )


def no_gpu(cpu: Cpu) -> Gpu:
    """Return the Gpu of a machine that has none: no memory, and the rates of the CPU, which does
    all the work.
    """
    nothing = Quantity(
        value=0,
        kind=Kind.ASSUMED,
        source="the machine has no GPU",
        date=ASSUMED_DATE,
    )
    return Gpu(
        name="no GPU",
        count=0,
        memory_bytes=nothing,
        memory_bytes_per_s=cpu.memory_bytes_per_s,
        flops_per_s=cpu.flops_per_s,
        launch_overhead_ns=nothing,
    )


def _memory(part: GpuPart, library: PartsLibrary) -> Quantity:
    """Bytes of the memory that a process sees: as published, else the size on the box times the
    maker's usual share.
    """
    # What a source saw a process get goes before any share of the box's size.
    if part.reported_bytes is not None:
        assert part.reported is not None
        return _quantity(part.reported_bytes, part.reported, None)
    shares = library.efficiencies.reported_memory
    share = shares[part.memory if part.is_unified else part.maker]
    ecc = ECC_SHARE if part.has_ecc_inside else 1.0
    return _quantity(part.memory_bytes * ecc, part.listed, share)


def _rates(part: GpuPart) -> Iterator[tuple[str, tuple[float, Citation]]]:
    """Yield operations a second by compute type.

    The rate of bf16 is that of fp16, or else of f32, where the GPU has no bf16. Weights of a type
    without a rate run at the rate of bf16.
    """
    stated = part.operations_per_s
    for name in ("bf16", "fp16", "f32"):
        if name in stated:
            yield "bf16", (stated[name], _instead(part.rates, name))
            break
    for name, rate in stated.items():
        if name != "bf16":
            yield name, (rate, part.rates)


def _instead(rates: Citation, name: str) -> Citation:
    if name == "bf16":
        return rates
    return Citation(
        source=f"{rates.source}; that of {name}, as it has no bf16",
        date=rates.date,
        kind=rates.kind,
    )


def _quantity(value: float, citation: Citation, efficiency: Efficiency | None) -> Quantity:
    return Quantity(
        value=value,
        kind=citation.kind,
        source=citation.source,
        date=citation.date,
        efficiency=efficiency,
    )
