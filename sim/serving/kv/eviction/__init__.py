"""Policies that choose the KV block to evict when room is needed, one policy a file."""

from sim.serving.kv.eviction.arc import Arc
from sim.serving.kv.eviction.base import Eviction
from sim.serving.kv.eviction.fifo import Fifo
from sim.serving.kv.eviction.lfu import Lfu
from sim.serving.kv.eviction.library import EVICTIONS, eviction
from sim.serving.kv.eviction.lru import Lru
from sim.serving.kv.eviction.mru import Mru

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
