"""Routing: which experts each token selects.

It is generated from statistics, fitted to a trace, or recorded.
"""

from sim.routing.base import Draw, Routing, tokens_per_expert
from sim.routing.fitted import FittedRouting
from sim.routing.fitting import fit
from sim.routing.generated import GeneratedRouting, uniform
from sim.routing.importers import import_trace
from sim.routing.latent import LatentRouting
from sim.routing.library import load_routing
from sim.routing.recorded import RecordedRouting
from sim.routing.spec import RoutingSpec
from sim.routing.statistics import RoutingStatistics, statistics
from sim.routing.trace_file import load_trace, save_trace

__all__ = [
    "Draw",
    "FittedRouting",
    "GeneratedRouting",
    "LatentRouting",
    "RecordedRouting",
    "Routing",
    "RoutingSpec",
    "RoutingStatistics",
    "fit",
    "import_trace",
    "load_routing",
    "load_trace",
    "save_trace",
    "statistics",
    "tokens_per_expert",
    "uniform",
]
