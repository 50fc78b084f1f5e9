"""The shares of datasheets' figures that real work reaches, by class of part, with their spread."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from hwprofiles.quantity import Efficiency


class Efficiencies(BaseModel):
    """One share for each class. ``memory`` is by kind of CPU: desktop, workstation, server or unified.

    ``reported_memory`` is what a process sees of a GPU's memory, by maker, and for memory in common what the GPU may take of it;
    ``sockets`` is what two sockets reach of both their memories together, where weights are spread over them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: Mapping[str, Efficiency]
    sockets: Efficiency
    gpu_memory: Efficiency
    gpu_compute: Efficiency
    cpu_compute: Efficiency
    link: Efficiency
    pageable: Efficiency
    disk: Efficiency
    reported_memory: Mapping[str, Efficiency]


def efficiencies(data: Mapping[str, Any]) -> Efficiencies:
    """The shares of the data file."""
    return Efficiencies.model_validate(data)
