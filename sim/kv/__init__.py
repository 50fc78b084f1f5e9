"""KV caches outside the step: pools of blocks, eviction, and what hits they give."""

from sim.kv.block_store import BlockStore
from sim.kv.eviction import EVICTIONS, Eviction, eviction
from sim.kv.replay import Pool, PoolResult, TouchOrder, replay
from sim.kv.stack_distances import LruCurve, lru_curve

__all__ = [
    "EVICTIONS",
    "BlockStore",
    "Eviction",
    "LruCurve",
    "Pool",
    "PoolResult",
    "TouchOrder",
    "eviction",
    "lru_curve",
    "replay",
]
