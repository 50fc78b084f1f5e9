"""Probes of plain reads of memory, and of copies over the link."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from hwprofiles import Operation
from hwprofiles.units import MIB
from validation.measuring.bench import HostBench, Work
from validation.measuring.cold_memory import ColdMemory
from validation.measuring.probe import CurveKey, Probe
from validation.measuring.workplace import Workplace

HOST_READ_BYTES, GPU_READ_BYTES = 16 * MIB, 256 * MIB
"""Bytes of a read on the host and on a GPU.

A read is long beside a launch, and short beside the time after which a busy computer gives the core
to others.
"""


def thread_counts(num_cores: int) -> list[int]:
    """Return 1, 2, 4, … and the number of all cores."""
    return sorted({min(num_cores, 2**power) for power in range(num_cores.bit_length() + 1)})


def read_benches(cores: tuple[int, ...]) -> dict[str, HostBench]:
    """Return a bench of the host for each number of threads, by ``_bench_name``."""
    return {
        _bench_name(count): HostBench(_bench_name(count), cores[:count])
        for count in thread_counts(len(cores))
    }


def read_probes(place: Workplace, cores: tuple[int, ...], dtype: str) -> Iterator[Probe]:
    """Yield probes that sum over memory: the host's by threads, and the accelerator's."""
    for count in thread_counts(len(cores)):
        yield _read_probe(
            "cpu", _bench_name(count), count, place.cold["cpu", dtype], HOST_READ_BYTES
        )
    yield _read_probe(
        "gpu",
        "gpu",
        1,
        place.cold["gpu", dtype],
        GPU_READ_BYTES if place.is_cuda else HOST_READ_BYTES,
    )


def copy_probes(place: Workplace, sizes: tuple[int, ...]) -> Iterator[Probe]:
    """Yield probes of copies over the link by bytes, for each direction and kind of host memory."""
    for kind, make in place.copies.items():
        for num_bytes in sizes:
            key = CurveKey(operation=Operation.COPY, device=kind, dtype="")
            yield Probe(
                key=key,
                x=num_bytes,
                # Both kinds of host memory are copied by the lane of their direction.
                bench=kind.removesuffix("_pageable"),
                make=partial(make, num_bytes),
            )


def _bench_name(num_threads: int) -> str:
    return f"{num_threads} threads"


def _read_probe(
    device: str, bench: str, num_threads: int, cold: ColdMemory, num_bytes: int
) -> Probe:
    key = CurveKey(
        operation=Operation.MEMORY_READ, device=device, dtype="", shape=(("bytes", num_bytes),)
    )
    return Probe(
        key=key, x=num_threads, bench=bench, make=_maker(cold, num_bytes), weight_bytes=num_bytes
    )


def _maker(cold: ColdMemory, num_bytes: int) -> Callable[[], Work]:
    def make() -> Work:
        """Make a sum over bytes that no cache holds."""
        # In whole floats, which sum faster than the memory gives them, whatever the format.
        taken = cold.take(num_bytes // cold.dtype.itemsize).view(torch.float32)

        def work() -> torch.Tensor:
            """Read all bytes once."""
            return taken.sum()

        return work

    return make
