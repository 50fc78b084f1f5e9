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
"""Long beside a launch, short beside the time after which a busy computer gives the core to others.
"""


def thread_counts(num_cores: int) -> list[int]:
    """1, 2, 4, … and all."""
    return sorted({min(num_cores, 2**power) for power in range(num_cores.bit_length() + 1)})


def read_benches(cores: tuple[int, ...]) -> dict[str, HostBench]:
    """A bench of the host for each count of threads, by ``bench_name``."""
    return {
        _bench_name(count): HostBench(_bench_name(count), cores[:count])
        for count in thread_counts(len(cores))
    }


def read_probes(place: Workplace, cores: tuple[int, ...], dtype: str) -> Iterator[Probe]:
    """Sums over memory: on the host by threads, and on a GPU of its own."""
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
    """Copies over the link by bytes, in each direction and from each kind of memory that there is."""
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
        """A sum over bytes that no cache holds."""
        # In whole floats, which sum faster than the memory gives them, whatever the format.
        taken = cold.take(num_bytes // cold.dtype.itemsize).view(torch.float32)

        def work() -> torch.Tensor:
            """Read all of it once."""
            return taken.sum()

        return work

    return make
