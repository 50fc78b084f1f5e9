"""What the price of a runtime's step needs to know of a machine, every rate as the datasheet or a
probe states it.
"""

from dataclasses import dataclass
from enum import StrEnum

from hwprofiles.runtime_kernels import RuntimeKernels


class Vector(StrEnum):
    """The widest instructions that quantised products can use.

    SHORT_DOT are dot products of bytes without AVX-512: AVX-VNNI. NEON has them on four units of 128
    bits.
    """

    AVX2 = "avx2"
    SHORT_DOT = "short_dot"
    NEON = "neon"
    AVX512 = "avx512"
    VNNI = "vnni"
    AMX = "amx"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGpu:
    """A GPU and its link; ``pageable_bytes_per_s`` of copies from memory that is not pinned, where it
    is known. ``is_nvidia``: most of the published rows that prices rest on are of such.
    ``is_server_card``: an NVIDIA card with HBM, or of Pascal, of which few rows are.
    """

    name: str
    memory_bytes: float
    bytes_per_s: float
    flops_per_s: float
    link_bytes_per_s: float
    pageable_bytes_per_s: float | None = None
    is_nvidia: bool = True
    is_server_card: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDisk:
    """A local disk: the rate of large reads with many under way, and the latency of one."""

    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeHost:
    """A machine as runtimes see it.

    ``dram_bytes_per_s`` is the datasheet's rate of one socket, None where the memory is not stated.
    ``probe_bytes_per_s`` is what a measurement of the whole CPU reading its memory gave.
    ``cores_per_socket`` counts fast cores; ``vector_bits`` is the width of their units.
    ``runtime_kernels`` are laws that were measured with the program itself. ``memory_bytes`` is that
    of the host, ``disk`` where weights are read from that it has no room for; None where not stated.
    """

    gpus: tuple[HostGpu, ...]
    sockets: int
    cores_per_socket: int
    clock_hz: float
    vector: Vector
    vector_bits: int
    is_server: bool
    dram_bytes_per_s: float | None
    probe_bytes_per_s: float | None = None
    runtime_kernels: tuple[RuntimeKernels, ...] = ()
    memory_bytes: float | None = None
    disk: HostDisk | None = None
