"""Which experts each token selects: generated from statistics, or recorded."""

from sim.routing.base import Routing, tokens_per_expert
from sim.routing.generated import GeneratedRouting, uniform
from sim.routing.library import RoutingSpec, load_routing
from sim.routing.recorded import RecordedRouting
from sim.routing.trace_file import load_trace

__all__ = ["GeneratedRouting", "RecordedRouting", "Routing", "RoutingSpec", "load_routing", "load_trace", "tokens_per_expert", "uniform"]
