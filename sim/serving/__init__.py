"""The serving scale: requests, continuous batching over paged KV, and tiers of KV.

The step scale gives the durations of steps.
"""

from sim.serving.balancing import Balancing
from sim.serving.cluster import Cluster, ServingSetting, prepare
from sim.serving.handover import Disaggregation
from sim.serving.link import TransferRate
from sim.serving.metrics import Percentiles, ServingMetrics
from sim.serving.options import InstanceOptions
from sim.serving.prices import AttentionLine, AttentionPrice, StepPrices
from sim.serving.serve import ServingRun, serve
from sim.serving.sources import ClosedLoop, ConstantLoad, OpenLoop, source_of

__all__ = [
    "AttentionLine",
    "AttentionPrice",
    "Balancing",
    "ClosedLoop",
    "Cluster",
    "ConstantLoad",
    "Disaggregation",
    "InstanceOptions",
    "OpenLoop",
    "Percentiles",
    "ServingMetrics",
    "ServingRun",
    "ServingSetting",
    "StepPrices",
    "TransferRate",
    "prepare",
    "serve",
    "source_of",
]
