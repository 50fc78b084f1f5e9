"""The tiers of execution: which lanes are paced, and where their threads run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from sim.task import Discipline, Resource
from validation.backend.cores import Worker, keep_to, own_cores
from validation.backend.lane import Lane, Line
from validation.backend.priority_lane import PriorityLane
from validation.backend.ticket import Pace


class Tier(StrEnum):
    """How a run is made to resemble a machine.

    FREE: nothing is slept out, for tests of order and tokens. PACED: every operation lasts as long as the machine file says. CPU:
    operations are real, one core standing for the accelerator and another for the CPU, copies are paced at the link's rate.
    """

    FREE = "free"
    PACED = "paced"
    CPU = "cpu"


SOFTWARE_LANES = ("host", "matcher")
"""Lanes whose tasks are times that a machine file or a policy states, with no work of their own."""


@contextmanager
def open_lanes(tier: Tier, resources: Sequence[Resource]) -> Iterator[list[Line]]:
    """A lane for each resource, of its discipline, closed at the end of the block, in which the caller keeps off the accelerator's core."""
    cores = own_cores()
    lanes = [_lane(resource, pace_of(tier, resource.name), worker_of(tier, resource.name, cores)) for resource in resources]
    own = worker_of(tier, "host", cores)
    try:
        if own.cores:
            keep_to(own.cores)
        yield lanes
    finally:
        for lane in lanes:
            lane.close()
        if own.cores:
            keep_to(cores)


def pace_of(tier: Tier, name: str) -> Pace:
    """How long tasks of that lane are made to last."""
    if tier is Tier.FREE:
        return Pace.OWN
    if tier is Tier.PACED or name in SOFTWARE_LANES:
        return Pace.PADDED
    return Pace.LINK if name in ("h2d", "d2h") else Pace.OWN


def worker_of(tier: Tier, name: str, cores: tuple[int, ...]) -> Worker:
    """Where that lane's thread runs: the emulated accelerator has the first core to itself, all else shares the rest."""
    if tier is not Tier.CPU or len(cores) < 2:
        return Worker()
    rest = cores[1:]
    return Worker(cores=cores[:1]) if name == "gpu" else Worker(cores=rest, num_threads=len(rest) if name == "cpu" else 1)


def _lane(resource: Resource, pace: Pace, worker: Worker) -> Line:
    made = PriorityLane if resource.discipline is Discipline.PRIORITY else Lane
    return made(resource.name, pace, worker)
