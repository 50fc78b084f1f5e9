"""The shares of datasheets' figures that real work reaches, by class of part, with their spread."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hwprofiles.quantity import Efficiency, Quantity
from hwprofiles.yaml_file import read_yaml


class ThreadShares(BaseModel):
    """The speed of a CPU at other numbers of threads, relative to one on each performance core.

    ``one_thread_bytes_per_s`` is the most that one thread reads, which bounds the rate of few
    threads. ``smt`` is the share of the rates with more threads than cores. ``e_cores`` is the
    share with some threads on efficiency cores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    one_thread_bytes_per_s: Quantity
    smt: Efficiency
    e_cores: Efficiency


class Efficiencies(BaseModel):
    """The share of a stated rate or size that real work reaches, for each class of part.

    ``memory`` is by kind of CPU: desktop, workstation, server or unified. ``gpu_memory`` is by kind
    of memory: HBM, GDDR or unified. ``serial_fraction`` is by how copies within the card run:
    ``asynchronous``, started ``by threads``, or ``waiting``. ``reported_memory`` is the share of a
    GPU's memory that a process sees, by the GPU's maker. For memory in common with a CPU, it is the
    share that the GPU may take. ``sockets`` is the share of two sockets' bandwidth that work
    reaches where weights are spread over both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: Mapping[str, Efficiency]
    sockets: Efficiency
    gpu_memory: Mapping[str, Efficiency]
    serial_fraction: Mapping[str, Quantity]
    gpu_compute: Efficiency
    cpu_compute: Efficiency
    link: Efficiency
    pageable: Efficiency
    disk: Efficiency
    reported_memory: Mapping[str, Efficiency]
    threads: ThreadShares


@cache
def efficiencies() -> Efficiencies:
    """Return the shares that ship with Rosin. The first call reads their file."""
    path = Path(str(resources.files("hwprofiles") / "parts" / "efficiencies.yaml"))
    return Efficiencies.model_validate(read_yaml(path, "parts"))
