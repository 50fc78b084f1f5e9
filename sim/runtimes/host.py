"""What prices of runtimes need to know of a machine.

Every rate is as the datasheet or a probe states it.
"""

from dataclasses import dataclass
from enum import StrEnum

from hwprofiles.runtime_kernels import RuntimeKernels


class Vector(StrEnum):
    """The widest vector instructions of a CPU that quantised products can use.

    SHORT_DOT is AVX-VNNI: dot products of bytes without AVX-512. NEON has such products on four
    units of 128 bits.
    """

    AVX2 = "avx2"
    SHORT_DOT = "short_dot"
    NEON = "neon"
    AVX512 = "avx512"
    VNNI = "vnni"
    AMX = "amx"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGpu:
    """A GPU and its link.

    ``pageable_bytes_per_s`` is the link's rate for copies from memory that is not pinned, None
    where it is not known. ``is_nvidia``: most of the published rows that prices rest on are of
    NVIDIA cards. ``is_server_card``: an NVIDIA card with HBM, or of Pascal or Maxwell; few rows are
    of such cards.
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
    """A local disk: the rate of many large reads at once, and the latency of one read."""

    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeHost:
    """A machine as runtimes see it.

    ``dram_bytes_per_s`` is the datasheet's rate of one socket. ``probe_bytes_per_s`` is what the
    whole CPU reaches when it reads its memory, measured or stated. Each is None where it is not
    known. With ``is_probe_assumed``, that rate is only assumed and may be a datasheet's.

    ``cores_per_socket`` counts fast cores; ``vector_bits`` is the width of their vector units.
    ``runtime_kernels`` are laws that were measured with the program itself. ``memory_bytes`` is the
    size of host memory. Weights that host memory has no room for are read from ``disk``. Both are
    None where not stated.
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
    is_probe_assumed: bool = False
    runtime_kernels: tuple[RuntimeKernels, ...] = ()
    memory_bytes: float | None = None
    disk: HostDisk | None = None
