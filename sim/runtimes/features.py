"""What prices of a step depend on: its work, and the kernels and rates that stand for it."""

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
"""Rates a core are stated at this clock, the all-core turbo of the desktops that most rows come
from.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One step, or many as arrays over steps.

    ``is_on_two_sockets``: threads need more than one socket's cores; ``socket_use`` is a SocketUse.
    ``socket_bytes_per_s`` is the datasheet's rate of one socket, ``probe_bytes_per_s`` the measured
    one of a socket (0: none), which may be assumed instead. ``threads`` are as many as cores in use, ``cores`` counts those at
    NOMINAL_CLOCK_HZ; ``lag`` and ``width`` say what their instructions do. Kernel factors are of a
    prompt's products on the CPU, by their format, over the median format's. ``ungrouped_queries`` counts query heads for which GPU
    kernels read the same keys and values anew (0: they do not). They read ``kv_bytes_factor`` times the bytes of the cache.
    Attention on the CPU is optimised,
    llama.cpp's flash attention, or neither. ``is_copy_known``: whether the program says if it copies
    from pinned memory, so that the link's rate needs no share.
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
    """The work of steps one after the other."""
    return StepWork(
        **{item.name: sum(getattr(work, item.name) for work in works) for item in fields(StepWork)}
    )


NOMINAL_THREADS = 16
"""Threads for which the wait of a layer is stated, those of most desktops among the rows."""


def cores_in_use(host: RuntimeHost, threads: int | None) -> float:
    """Cores at work: as many as threads, at most all of them (a second thread of a core adds
    nothing).
    """
    # Efficiency cores are left out: a product is split evenly, so slower cores hold the others up.
    available = host.cores_per_socket * host.sockets
    return float(available if threads is None else min(threads, available))


def is_on_two_sockets(host: RuntimeHost, threads: int | None) -> bool:
    """Whether threads need more than one socket's cores."""
    return host.sockets > 1 and cores_in_use(host, threads) > host.cores_per_socket


def lag(host: RuntimeHost) -> float:
    """How far instructions fall behind AVX-512 with VNNI: 1 for AVX2, half of that, in the
    logarithm, for AVX2 with VNNI.

    NEON does not: at one clock a core of an M2 Max multiplies 1 to 1.4 times what one of a Ryzen 9
    7950X does (ik_llama.cpp discussion 164, six formats and prompts).
    """
    return {Vector.AVX2: 1.0, Vector.SHORT_DOT: 0.5, Vector.AVX512: 1.0}.get(host.vector, 0.0)


def width(host: RuntimeHost) -> float:
    """The width of vector units over 256 bits, where AVX-512 uses it."""
    if host.vector in (Vector.AVX2, Vector.SHORT_DOT, Vector.NEON, Vector.AVX512):
        return 1.0
    # AVX-512 on units of 256 bits takes two steps an instruction (Zen 4), so it is no wider.
    return host.vector_bits / NOMINAL_VECTOR_BITS
