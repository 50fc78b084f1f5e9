"""The eviction policies, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from hwprofiles import unknown_name
from sim.kv.eviction.arc import Arc
from sim.kv.eviction.base import Eviction
from sim.kv.eviction.fifo import Fifo
from sim.kv.eviction.lfu import Lfu
from sim.kv.eviction.lru import Lru
from sim.kv.eviction.mru import Mru

EVICTIONS: Mapping[str, type[Eviction]] = MappingProxyType({"lru": Lru, "lfu": Lfu, "fifo": Fifo, "mru": Mru, "arc": Arc})
"""What ``--policy`` takes."""


def eviction(name: str) -> type[Eviction]:
    """The policy of that name. Raises InputError for an unknown one."""
    if name not in EVICTIONS:
        raise unknown_name("eviction policy", name, EVICTIONS)
    return EVICTIONS[name]
