"""The tiers of execution: which lanes are paced, on what they run, and where their threads are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray

from sim.engine.task import Discipline, Resource
from validation.backend.cores import Worker, keep_to, own_cores
from validation.backend.crossing import ON_HOST
from validation.backend.lane import Lane, Line
from validation.backend.priority_lane import PriorityLane
from validation.backend.stream import CudaStream, Stream, StreamClock
from validation.backend.stream_lane import StreamLane
from validation.backend.ticket import Pace


class Tier(StrEnum):
    """How a run is made to resemble a machine.

    FREE: nothing is slept out, for tests of order and tokens. PACED: every operation lasts as long
    as the machine file says. CPU: operations are real; one core stands for the accelerator and the
    others for the CPU; copies are paced at the link's rate. CUDA: all is real.
    """

    FREE = "free"
    PACED = "paced"
    CPU = "cpu"
    CUDA = "cuda"


ON_STREAMS = ("gpu", "h2d", "d2h")
"""Lanes that a CUDA device runs."""

SOFTWARE_LANES = ("host", "matcher")
"""Lanes whose tasks have no work of their own: a machine file or a policy states their times."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lanes:
    """The lanes of a run, by number of the resource.

    ``is_paced`` [resource]: whether a resource's tasks last their price.
    """

    lines: tuple[Line, ...]
    is_paced: NDArray[np.bool_]


@contextmanager
def open_lanes(tier: Tier, resources: Sequence[Resource]) -> Iterator[Lanes]:
    """Open a lane for each resource, of its discipline, and close all lanes at the end of the
    block.

    Within the block, the caller keeps off the accelerator's core.
    """
    cores = own_cores()
    paces = [pace_of(tier, resource.name) for resource in resources]
    workers = [worker_of(tier, resource.name, cores) for resource in resources]
    streams = [stream_of(tier, resource.name) for resource in resources]
    # One clock for all streams, so that their instants can be compared.
    clock = next((StreamClock(stream) for stream in streams if stream is not None), None)
    parts = zip(resources, paces, workers, streams, strict=True)
    lines = [
        _line(resource, pace, worker, stream, clock) for resource, pace, worker, stream in parts
    ]
    own = worker_of(tier, "host", cores)
    try:
        if own.cores:
            keep_to(own.cores)
        yield Lanes(lines=tuple(lines), is_paced=np.array([pace is not Pace.OWN for pace in paces]))
    finally:
        for line in lines:
            line.close()
        if own.cores:
            keep_to(cores)


def device_of(tier: Tier) -> torch.device:
    """Return the device of the accelerator's memory, with its number, as tensors name it."""
    return torch.device("cuda", torch.cuda.current_device()) if tier is Tier.CUDA else ON_HOST


def stream_of(tier: Tier, name: str) -> Stream | None:
    """Return a new stream for that lane, or None if a thread runs the lane."""
    return CudaStream() if tier is Tier.CUDA and name in ON_STREAMS else None


def pace_of(tier: Tier, name: str) -> Pace:
    """How long tasks of that lane are made to last."""
    if tier is Tier.FREE:
        return Pace.OWN
    if tier is Tier.PACED or name in SOFTWARE_LANES:
        return Pace.PADDED
    return Pace.LINK if tier is Tier.CPU and name in ("h2d", "d2h") else Pace.OWN


def worker_of(tier: Tier, name: str, cores: tuple[int, ...]) -> Worker:
    """Return the cores and threads of that lane's thread.

    The emulated accelerator has the first core to itself; all other lanes share the rest. Beside a
    GPU, the CPU's lane computes on all cores but one, which is left to the other threads.
    """
    rest = cores[1:]
    if tier is Tier.CUDA and name == "cpu":
        return Worker(num_threads=max(1, len(rest)))
    if tier is not Tier.CPU or not rest:
        return Worker()
    return (
        Worker(cores=cores[:1])
        if name == "gpu"
        else Worker(cores=rest, num_threads=len(rest) if name == "cpu" else 1)
    )


def _line(
    resource: Resource, pace: Pace, worker: Worker, stream: Stream | None, clock: StreamClock | None
) -> Line:
    if resource.discipline is Discipline.PRIORITY:
        return PriorityLane(resource.name, pace, worker, stream)
    if stream is not None and clock is not None:
        return StreamLane(resource.name, stream, clock, worker)
    return Lane(resource.name, pace, worker)
