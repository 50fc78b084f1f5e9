"""Which KV block goes when room is needed: one policy a file."""

from sim.kv.eviction.arc import Arc
from sim.kv.eviction.base import Eviction
from sim.kv.eviction.fifo import Fifo
from sim.kv.eviction.lfu import Lfu
from sim.kv.eviction.library import EVICTIONS, eviction
from sim.kv.eviction.lru import Lru
from sim.kv.eviction.mru import Mru

__all__ = [
    "EVICTIONS",
    "Arc",
    "Eviction",
    "Fifo",
    "Lfu",
    "Lru",
    "Mru",
    "eviction",
]
