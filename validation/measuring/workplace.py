"""The workplace of a measurement: a bench and memory for each lane.

The accelerator is a GPU, or one of the host's cores that plays it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from hwprofiles import InputError
from hwprofiles.units import GIB, MIB
from validation.backend.paced_link import PacedLink
from validation.backend.stream import CudaStream
from validation.measuring.bench import Bench, HostBench, StreamBench, Work
from validation.measuring.cold_memory import ColdMemory
from validation.measuring.surroundings import Surroundings

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
)
"""Formats in which torch multiplies, by their names in curves and models."""

CACHES_OF_COLD_MEMORY = 2
LEAST_COLD_BYTES = 256 * MIB
LEAST_GPU_COLD_BYTES = 512 * MIB
MOST_COLD_SHARE = 1 / 8
"""Largest share of memory that cold memory may take.

Within this share, cold memory is CACHES_OF_COLD_MEMORY times the largest cache. The least is
LEAST_COLD_BYTES on the host, and LEAST_GPU_COLD_BYTES on a GPU.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """Stated figures of an emulated accelerator, which no core can tell."""

    link_bytes_per_s: float = 2e9
    memory_bytes: float = 4 * GIB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workplace:
    """Benches by lane, and cold memory by device and format.

    ``copies`` make copies of that many bytes, by direction and kind of memory (``h2d_pageable``).
    """

    is_cuda: bool
    benches: Mapping[str, Bench]
    cold: Mapping[tuple[str, str], ColdMemory]
    copies: Mapping[str, Callable[[int], Work]]
    cpu_cores: tuple[int, ...]
    cold_bytes: int


def choose_device(asked: str) -> str:
    """``cuda`` or ``cpu``. Raises InputError where a GPU is asked for and there is none."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "`device` cuda: torch finds no CUDA device here; `device` cpu lets a core play the accelerator"
        )
    return asked if asked != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def workplace(
    device: str,
    dtypes: tuple[str, ...],
    around: Surroundings,
    emulation: Emulation,
    num_bytes: int,
    copy_bytes: int,
) -> Iterator[Workplace]:
    """Set up everything, and end the threads afterwards.

    Blocks have up to ``num_bytes``, and copies up to ``copy_bytes``.
    """
    # Weights are read from memory in a real run, never from a cache: each read takes other bytes.
    wanted = max(CACHES_OF_COLD_MEMORY * around.cache_bytes, LEAST_COLD_BYTES, num_bytes)
    cold_bytes = int(min(wanted, around.memory_bytes * MOST_COLD_SHARE))
    built = (
        _cuda(dtypes, around, cold_bytes, copy_bytes)
        if device == "cuda"
        else _emulated(dtypes, around, emulation, cold_bytes, copy_bytes)
    )
    try:
        yield built
    finally:
        for bench in built.benches.values():
            bench.close()


def split_cores(cores: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the core that plays the accelerator, and the cores of the CPU.

    If there is only one core, both are the same.
    """
    return cores[:1], cores[1:] or cores


def _emulated(
    dtypes: tuple[str, ...],
    around: Surroundings,
    emulation: Emulation,
    cold_bytes: int,
    copy_bytes: int,
) -> Workplace:
    own, rest = split_cores(around.cores)
    benches = {"gpu": HostBench("gpu", own), "cpu": HostBench("cpu", rest)}
    benches |= {
        way: HostBench(way, rest[:1]) for way in ("h2d", "d2h")
    }  # one thread each; the memory they use is what disturbs others
    host = torch.device("cpu")
    shared = {name: ColdMemory(cold_bytes, DTYPES[name], host) for name in dtypes}
    staging = torch.ones(
        copy_bytes, dtype=torch.uint8
    )  # written, so that no copy waits for the system to find memory
    source = shared[dtypes[0]]
    link = PacedLink(emulation.link_bytes_per_s)

    def copy(num_bytes: int) -> Work:
        """Make a copy of that many bytes."""
        taken = source.take(num_bytes // source.dtype.itemsize)
        target = staging[: taken.nbytes].view(source.dtype)
        return lambda: link.copy(target, taken)

    return Workplace(
        is_cuda=False,
        benches=benches,
        # Both devices are cores of one host, so both read one memory.
        cold={(bench, name): memory for bench in ("gpu", "cpu") for name, memory in shared.items()},
        copies={"h2d": copy, "d2h": copy},
        cpu_cores=rest,
        cold_bytes=cold_bytes,
    )


def _cuda(
    dtypes: tuple[str, ...], around: Surroundings, cold_bytes: int, copy_bytes: int
) -> Workplace:
    gpu = torch.device("cuda", torch.cuda.current_device())
    host = torch.device("cpu")
    benches: dict[str, Bench] = {
        name: StreamBench(name, gpu, CudaStream()) for name in ("gpu", "h2d", "d2h")
    }
    benches["cpu"] = HostBench("cpu", around.cores)
    properties = torch.cuda.get_device_properties(gpu)
    wanted = max(CACHES_OF_COLD_MEMORY * getattr(properties, "L2_cache_size", 0), cold_bytes)
    # A share of what is free, because other programs may hold memory of the card.
    on_gpu = int(
        min(max(wanted, LEAST_GPU_COLD_BYTES), torch.cuda.mem_get_info(gpu)[0] * MOST_COLD_SHARE)
    )
    cold = {("gpu", name): ColdMemory(on_gpu, DTYPES[name], gpu) for name in dtypes}
    cold |= {("cpu", name): ColdMemory(cold_bytes, DTYPES[name], host) for name in dtypes}
    # Twice a copy, so that two in a row differ in what they touch.
    pinned = ColdMemory(2 * copy_bytes, torch.uint8, host, is_pinned=True)
    pageable = ColdMemory(2 * copy_bytes, torch.uint8, host)
    staging = ColdMemory(2 * copy_bytes, torch.uint8, gpu)
    return Workplace(
        is_cuda=True,
        benches=benches,
        cold=cold,
        copies={
            "h2d": _between(pinned, staging),
            "d2h": _between(staging, pinned),
            "h2d_pageable": _between(pageable, staging),
            "d2h_pageable": _between(staging, pageable),
        },
        cpu_cores=around.cores,
        cold_bytes=cold_bytes,
    )


def _between(source: ColdMemory, target: ColdMemory) -> Callable[[int], Work]:
    """Return a function that makes copies from one memory to the other.

    A copy is not waited for where the memory allows that.
    """

    def copy(num_bytes: int) -> Work:
        """Make a copy of that many bytes."""
        taken = source.take(num_bytes)
        place = target.take(num_bytes)

        def work() -> Tensor:
            """Start the copy."""
            return place.copy_(taken, non_blocking=True)

        return work

    return copy
