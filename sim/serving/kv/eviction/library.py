"""The eviction policies, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from hwprofiles import unknown_name
from sim.serving.kv.eviction.arc import Arc
from sim.serving.kv.eviction.base import Eviction
from sim.serving.kv.eviction.fifo import Fifo
from sim.serving.kv.eviction.lfu import Lfu
from sim.serving.kv.eviction.lru import Lru
from sim.serving.kv.eviction.mru import Mru

EVICTIONS: Mapping[str, type[Eviction]] = MappingProxyType(
    {"lru": Lru, "lfu": Lfu, "fifo": Fifo, "mru": Mru, "arc": Arc}
)
"""Policies by the name that a replay and a tier take."""


def eviction(name: str) -> type[Eviction]:
    """The policy of that name. Raises InputError for an unknown one."""
    if name not in EVICTIONS:
        raise unknown_name("eviction policy", name, EVICTIONS)
    return EVICTIONS[name]
