"""The serving scale: requests, continuous batching over paged KV, tiers of KV; steps cost what the step scale says."""

from sim.serving.metrics import ServingMetrics, Spread
from sim.serving.options import AllReduce, EngineOptions
from sim.serving.prices import AttentionPrice, StepPrices
from sim.serving.serve import Cluster, ServingRun, ServingSetting, prepare, serve

__all__ = [
    "AllReduce",
    "AttentionPrice",
    "Cluster",
    "EngineOptions",
    "ServingMetrics",
    "ServingRun",
    "ServingSetting",
    "Spread",
    "StepPrices",
    "prepare",
    "serve",
]
