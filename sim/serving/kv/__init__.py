"""KV caches outside the step: pools of blocks with eviction and the hits they give, and when
loading KV is faster than computing it.
"""

from sim.serving.kv.block_store import BlockStore
from sim.serving.kv.channel import HOST_TO_GPU, Channel
from sim.serving.kv.eviction import EVICTIONS, Eviction, eviction
from sim.serving.kv.replay import Pool, PoolResult, TouchOrder, replay
from sim.serving.kv.reuse import (
    Compute,
    crossover_tokens,
    least_bytes_per_s,
    mooncake_bytes_per_s,
    prefill_flops,
)
from sim.serving.kv.stack_distances import LruCurve, lru_curve

__all__ = [
    "EVICTIONS",
    "HOST_TO_GPU",
    "BlockStore",
    "Channel",
    "Compute",
    "Eviction",
    "LruCurve",
    "Pool",
    "PoolResult",
    "TouchOrder",
    "crossover_tokens",
    "eviction",
    "least_bytes_per_s",
    "lru_curve",
    "mooncake_bytes_per_s",
    "prefill_flops",
    "replay",
]
