"""The shares of datasheets' figures that real work reaches, by class of part, with their spread."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hwprofiles.quantity import Efficiency, Quantity
from hwprofiles.yaml_file import read_yaml


class ThreadShares(BaseModel):
    """How fast a CPU is with other numbers of threads than one on each performance core, as shares
    of its rates with those.

    ``one_thread_bytes_per_s`` bounds few threads. ``smt`` is the share with more threads than
    cores, ``e_cores`` with some threads on efficiency cores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    one_thread_bytes_per_s: Quantity
    smt: Efficiency
    e_cores: Efficiency


class Efficiencies(BaseModel):
    """One share for each class. ``memory`` is by kind of CPU: desktop, workstation, server or
    unified.

    ``gpu_memory`` is by kind of memory: HBM, GDDR or unified; ``serial_fraction`` by whether copies
    within the card are ``asynchronous``, started ``by threads``, or waited for. ``reported_memory`` is what a process sees of a GPU's
    memory, by maker, and for memory in common what the GPU may take of it; ``sockets`` is what two
    sockets reach of both their memories together, where weights are spread over them.
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
    """The shares that ship; read at the first call."""
    path = Path(str(resources.files("hwprofiles") / "parts" / "efficiencies.yaml"))
    return Efficiencies.model_validate(read_yaml(path, "parts"))
