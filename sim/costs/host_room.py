"""The experts that host memory holds where it has no room for all; the disk has the rest."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Machine
from hwprofiles.units import GB, NS_PER_S
from sim.costs.memory import Residency, weight_bytes
from sim.model.model import Model

RESERVED_BYTES = 4 * GB
"""Host memory that the system and the program's own buffers take. A host of 65.5 GB kept 57.5 GB
for pages beside 8.3 GB in use (llama.cpp, Llama-4-Maverick read from NVMe, r/LocalLLaMA, April
2025). 4 GB of the 8.3 GB are others'.
"""


class DiskReads(StrEnum):
    """What becomes of experts that are read from the disk.

    CACHED: they stay in host memory in place of what was asked for longest ago, as in a page cache.
    DIRECT: they go through a buffer, and host memory keeps what it held at the start.
    """

    CACHED = "cached"
    DIRECT = "direct"


def disk_read_ns(machine: Machine, num_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ns of reads of ``num_bytes`` from the disk to host memory. Raises InputError for a
    machine that states no disk.
    """
    disk = machine.disk
    if disk is None:
        raise InputError(f"{machine.name} states no disk")
    ns = disk.latency_ns.effective + num_bytes / disk.bytes_per_s.effective * NS_PER_S
    return np.asarray(np.rint(ns).astype(np.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostShelf:
    """The ``experts`` [layer, expert] that host memory holds at the start.

    ``num_bytes`` is the room for experts in all, and ``left_bytes`` what these experts leave of it.
    """

    experts: NDArray[np.bool_]
    left_bytes: int
    num_bytes: int


def behind_bytes(model: Model, residency: Residency, *, keeps_copies: bool) -> int:
    """Return the bytes of weights that host memory or a disk has to hold: all that the GPU does
    not, and with ``keeps_copies`` all experts.
    """
    stays = residency
    if keeps_copies:
        stays = replace(residency, experts=np.zeros_like(residency.experts))
    return model.total_bytes - weight_bytes(model, stays)


def reads_disk(machine: Machine, model: Model, residency: Residency, *, keeps_copies: bool) -> bool:
    """Whether experts have to be read from the disk: host memory is too small for ``behind_bytes``,
    and the machine states a disk.
    """
    stated = machine.cpu.memory_bytes
    if stated is None or machine.disk is None:
        return False
    return behind_bytes(model, residency, keeps_copies=keeps_copies) > stated.effective


def shelf_bytes(machine: Machine, model: Model, residency: Residency) -> int:
    """Return the bytes for experts in host memory beside all else that lies there; negative where
    even that has no room.
    """
    assert machine.cpu.memory_bytes is not None
    no_experts = replace(residency, experts=np.zeros_like(residency.experts))
    experts = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    beside = model.total_bytes - weight_bytes(model, no_experts) - experts
    return int(machine.cpu.memory_bytes.effective) - RESERVED_BYTES - beside


def first_shelf(
    machine: Machine, model: Model, residency: Residency, popularity: NDArray[np.float64]
) -> HostShelf:
    """Return what host memory holds in a run that has gone on for long.

    The most popular experts that the GPU does not hold come first, then those that it does. Where
    all are equally popular, host memory holds as many of every layer.
    """
    room = shelf_bytes(machine, model, residency)
    counts = np.array([layer.num_experts for layer in model.layers])
    rank = np.broadcast_to(np.arange(model.num_experts), popularity.shape)
    layer = np.broadcast_to(np.arange(len(counts))[:, None], popularity.shape)
    order = np.lexsort(
        (layer.ravel(), rank.ravel(), -popularity.ravel(), residency.experts.ravel())
    )
    order = order[(rank < counts[:, None]).ravel()[order]]
    each = np.array([spec.expert_bytes for spec in model.layers], np.int64)
    held = np.cumsum(each[order // model.num_experts])
    number = int(np.searchsorted(held, room, "right"))
    experts = np.zeros(popularity.size, bool)
    experts[order[:number]] = True
    return HostShelf(
        experts=experts.reshape(popularity.shape),
        left_bytes=room - int(held[number - 1]) if number else room,
        num_bytes=room,
    )
