"""Features of a step that its price depends on: its work, kernels and rates."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sim.runtimes.formats import FormatFamily
from sim.runtimes.host import RuntimeHost, Vector
from sim.runtimes.work import StepWork

FAMILIES = tuple(FormatFamily)
NOMINAL_VECTOR_BITS = 256
NOMINAL_CLOCK_HZ = 4.5e9
"""The clock at which rates of a core are stated.

It is the all-core turbo of the desktops that most rows come from.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One step, or many as arrays over steps.

    ``is_on_two_sockets``: threads need more than one socket's cores. ``socket_use`` is a SocketUse.
    ``socket_bytes_per_s`` is the datasheet's memory rate of one socket. ``probe_bytes_per_s`` is
    the measured one (0: none), which ``is_probe_assumed`` marks as assumed. ``threads`` is the
    number of cores in use; ``cores`` counts them as cores at NOMINAL_CLOCK_HZ. ``lag`` and
    ``width`` describe their instructions. ``family`` is an index into FAMILIES.

    ``kernel_factor`` is the rate of a prompt's products on the CPU in their format, over the median
    format's. ``ungrouped_queries`` counts query heads for which GPU kernels read the same keys and
    values anew (0: they do not). These kernels read ``kv_bytes_factor`` times the bytes of the
    cache. Attention on the CPU is that of ``is_optimised``, llama.cpp's flash attention
    (``is_flash_on_cpu``), or neither. ``is_copy_known``: the program is known to copy from pinned
    memory or not, so the link's rate needs no share.
    """

    work: StepWork
    tokens: Any
    micro_batches: Any
    is_server: Any
    is_on_two_sockets: Any
    socket_use: Any
    socket_bytes_per_s: Any
    probe_bytes_per_s: Any
    is_probe_assumed: Any
    threads: Any
    cores: Any
    lag: Any
    width: Any
    has_amx: Any
    family: Any
    kernel_factor: Any
    is_kt: Any
    is_optimised: Any
    ungrouped_queries: Any
    is_attention_ungrouped: Any
    loops_over_experts: Any
    kv_bytes_factor: Any
    is_flash_on_cpu: Any
    is_flash_tiled: Any
    is_mla: Any
    is_cache_expanded: Any
    has_gpu: Any
    is_other_maker: Any
    has_server_card: Any
    is_copy_known: Any


def stacked(steps: Sequence[Features]) -> Features:
    """Many steps as one object of arrays."""
    columns = {
        item.name: np.array([getattr(step, item.name) for step in steps])
        for item in fields(Features)[1:]
    }
    works = {
        item.name: np.array([getattr(step.work, item.name) for step in steps])
        for item in fields(StepWork)
    }
    return Features(work=StepWork(**works), **columns)


def added(works: Sequence[StepWork]) -> StepWork:
    """Return the total work of steps that run one after the other."""
    return StepWork(
        **{item.name: sum(getattr(work, item.name) for work in works) for item in fields(StepWork)}
    )


NOMINAL_THREADS = 16
"""The number of threads for which the wait of a layer is stated.

Most desktops among the rows have that number.
"""


def cores_in_use(host: RuntimeHost, threads: int | None) -> float:
    """Return the number of cores at work: one for each thread, at most all of them.

    A second thread of a core adds nothing.
    """
    # Efficiency cores are left out: a product is split evenly, so slower cores hold the others up.
    available = host.cores_per_socket * host.sockets
    return float(available if threads is None else min(threads, available))


def is_on_two_sockets(host: RuntimeHost, threads: int | None) -> bool:
    """Whether threads need more than one socket's cores."""
    return host.sockets > 1 and cores_in_use(host, threads) > host.cores_per_socket


def lag(host: RuntimeHost) -> float:
    """Return how far instructions fall behind AVX-512 with VNNI, in the logarithm.

    1 for AVX2 and for AVX-512 without VNNI, half of that for AVX2 with VNNI. NEON does not fall
    behind: at one clock, a core of an M2 Max multiplies 1 to 1.4 times what a Ryzen 9 7950X's does.
    (ik_llama.cpp discussion 164, six formats and prompts.)
    """
    return {Vector.AVX2: 1.0, Vector.SHORT_DOT: 0.5, Vector.AVX512: 1.0}.get(host.vector, 0.0)


def width(host: RuntimeHost) -> float:
    """Return the width of vector units over 256 bits.

    It is 1 for instructions that do not use wider units: all but AVX-512 with VNNI, and AMX.
    """
    if host.vector in (Vector.AVX2, Vector.SHORT_DOT, Vector.NEON, Vector.AVX512):
        return 1.0
    # AVX-512 on units of 256 bits takes two steps an instruction (Zen 4), so it is no wider.
    return host.vector_bits / NOMINAL_VECTOR_BITS
