"""Requests to a serving engine: what a prompt is made of, recorded traces and generators."""

from sim.workload.requests.arrivals import (
    at_speed,
    even_arrivals_ns,
    gamma_arrivals_ns,
    poisson_arrivals_ns,
    with_arrivals,
)
from sim.workload.requests.library import load_requests, request_names
from sim.workload.requests.multi_round import Conversation, MultiRound
from sim.workload.requests.prefix_keys import prefix_keys
from sim.workload.requests.request import Request, Span
from sim.workload.requests.spec import RequestsSpec
from sim.workload.requests.trace_file import read_trace, trace_notes
from sim.workload.requests.trace_units import TraceUnits, trace_units

__all__ = [
    "Conversation",
    "MultiRound",
    "Request",
    "RequestsSpec",
    "Span",
    "TraceUnits",
    "at_speed",
    "even_arrivals_ns",
    "gamma_arrivals_ns",
    "load_requests",
    "poisson_arrivals_ns",
    "prefix_keys",
    "read_trace",
    "request_names",
    "trace_notes",
    "trace_units",
    "with_arrivals",
]
