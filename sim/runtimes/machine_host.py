"""The machine as runtimes see it, made from a machine file or a line of parts."""

import re

from hwprofiles import Gpu, Kind, Link, Machine, Quantity, Store
from hwprofiles.overrides import SOURCE as SET_BY_THE_USER
from hwprofiles.units import GB, GIGAHERTZ, NS_PER_S
from sim.runtimes.host import HostDisk, HostGpu, RuntimeHost, Vector

SERVER_NAMES = r"EPYC|Xeon|Threadripper|Grace|Altra|Graviton|Core i[79]-(78|79|98|99|109)\d\dXE?\b"
"""Names of servers, and of workstations with a server's die.

Such a die has its mesh or fabric between cores and memory. Threadripper has EPYC's die; Core X of
these numbers has that of Skylake and Cascade Lake Xeons.
"""
SERVER_BYTES_PER_S = 150 * GB
"""The memory rate of a socket above which it counts as a server's, whatever its name.

Two to four channels of memory give less.
"""

OTHER_MAKERS = r"Radeon|Instinct|\bArc\b|Apple|Data Center GPU|Iris|Adreno|Mali"
"""Words in the names of GPUs that are not NVIDIA's."""

SERVER_CARDS = (
    r"\b(V100S?|A30|A100|A800|H\d{2,3}|B[123]00|G[HB][23]00|P\d{1,4})\b"
    r"|TITAN (V|Xp|X Pascal)|GTX? 10\d0|GP100"
    r"|\bM(40|60|[456]000)\b|GTX (750|9\d0|TITAN X)\b"
)
"""NVIDIA's cards with HBM, and those of Pascal and Maxwell.

No published speed of a Maxwell card is known. Like Pascal's P100, Maxwell lacks CUDA graphs and dot
products of bytes, so it is at least as slow. (ggml-cuda has graphs since Ampere, dp4a since 6.1.)
"""

UNKNOWN_CLOCK_HZ = 3.5e9
UNKNOWN_VECTOR_BITS = 256


def runtime_host(machine: Machine) -> RuntimeHost:
    """Return the machine's GPUs, sockets, cores, memory and disk as runtimes see them.

    ``host_assumptions`` lists what is assumed where no source states it.
    """
    cpu = machine.cpu
    memory = cpu.memory_bytes_per_s
    own_gpus = _gpus(machine.gpu, machine.link)
    others = [gpu for other in machine.other_gpus for gpu in _gpus(other.gpu, other.link)]
    is_of_datasheet = _is_of_datasheet(memory)
    return RuntimeHost(
        gpus=(*own_gpus, *others),
        sockets=cpu.sockets,
        # A CPU that is all efficiency cores still computes with one.
        cores_per_socket=max(1, (cpu.cores - cpu.efficiency_cores) // cpu.sockets),
        clock_hz=UNKNOWN_CLOCK_HZ if cpu.clock_hz is None else cpu.clock_hz.value,
        vector=_vector(cpu.instructions),
        vector_bits=cpu.vector_bits or UNKNOWN_VECTOR_BITS,
        is_server=_is_server(cpu.name, memory.value / cpu.sockets),
        dram_bytes_per_s=memory.value / cpu.sockets if is_of_datasheet else None,
        probe_bytes_per_s=None if is_of_datasheet else memory.effective,
        is_probe_assumed=_is_assumed(memory),
        runtime_kernels=machine.runtime_kernels,
        memory_bytes=None if cpu.memory_bytes is None else cpu.memory_bytes.effective,
        disk=_disk(machine.disk),
    )


def _is_of_datasheet(rate: Quantity) -> bool:
    """Whether the rate is the memory's rated one, of which programs reach a share.

    Any other rate is what is reached: it was measured or published, or a file states no efficiency.
    """
    if rate.kind in (Kind.MEASURED, Kind.PUBLISHED):
        return False
    return rate.kind is Kind.DATASHEET or rate.efficiency is not None


def _is_assumed(rate: Quantity) -> bool:
    """Whether a file assumes the rate, and states no share of it that programs reach.

    A rate that the user sets for one run counts as reached, not as assumed.
    """
    is_of_a_file = rate.source != SET_BY_THE_USER
    return rate.kind is Kind.ASSUMED and rate.efficiency is None and is_of_a_file


def _disk(disk: Store | None) -> HostDisk | None:
    if disk is None:
        return None
    return HostDisk(
        bytes_per_s=disk.bytes_per_s.effective, latency_s=disk.latency_ns.effective / NS_PER_S
    )


def host_assumptions(machine: Machine) -> tuple[str, ...]:
    """Return what is assumed of the machine and its CPU, in words."""
    said = []
    if not machine.cpu.instructions:
        said.append(
            f"the instructions of {machine.cpu.name} are not stated: dot products of bytes on 256 bits are assumed"
        )
    if machine.cpu.clock_hz is None:
        said.append(
            f"the clock of {machine.cpu.name} is not stated: {UNKNOWN_CLOCK_HZ / GIGAHERTZ:g} GHz is assumed"
        )
    return (*machine.assumptions, *said)


def _gpus(gpu: Gpu, link: Link) -> tuple[HostGpu, ...]:
    one = HostGpu(
        name=gpu.name,
        memory_bytes=gpu.memory_bytes.effective,
        # The datasheet's, without the efficiency: the fitted constants are shares of that.
        bytes_per_s=gpu.memory_bytes_per_s.value,
        flops_per_s=_peak(gpu.flops_per_s),
        link_bytes_per_s=link.h2d.bytes_per_s.effective,
        pageable_bytes_per_s=_pageable(link),
        is_nvidia=re.search(OTHER_MAKERS, gpu.name) is None,
        is_server_card=re.search(SERVER_CARDS, gpu.name) is not None,
    )
    return (one,) * gpu.count


def _pageable(link: Link) -> float | None:
    rate = link.h2d.pageable_bytes_per_s
    return None if rate is None else rate.effective


def _peak(rates: dict[str, Quantity]) -> float:
    """Return the peak rate of products as the runtimes' kernels sum them.

    They sum in 16 bits or in integers. NVIDIA's GeForce cards halve the rate of 16-bit products
    that are summed in 32 bits, and machines state this halved rate. ggml asks for sums in 16 bits
    (CUBLAS_COMPUTE_16F) and multiplies quantised weights as int8 (mmq.cuh). On every card, products
    summed in 16 bits run at half the rate of int8 (whitepapers).
    """
    stated = [rates[name].value for name in ("bf16", "fp16") if name in rates]
    if "int8" in rates:
        stated.append(rates["int8"].value / 2)
    return max(stated or [rate.value for rate in rates.values()])


def _vector(instructions: tuple[str, ...]) -> Vector:
    known = {name.lower() for name in instructions}
    # Between the least and the most that CPUs of today have.
    if not known:
        return Vector.SHORT_DOT
    if Vector.AMX.value in known:
        return Vector.AMX
    if Vector.AVX512.value in known:
        return Vector.VNNI if Vector.VNNI.value in known else Vector.AVX512
    if Vector.NEON.value in known:
        return Vector.NEON
    return Vector.SHORT_DOT if "vnni" in known else Vector.AVX2


def _is_server(name: str, socket_bytes_per_s: float) -> bool:
    return re.search(SERVER_NAMES, name) is not None or socket_bytes_per_s > SERVER_BYTES_PER_S
