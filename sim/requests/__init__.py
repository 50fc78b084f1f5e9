"""Requests to a serving engine: what a prompt is made of, recorded traces and generators."""

from sim.requests.prefix_keys import prefix_keys
from sim.requests.request import Request, Span

__all__ = [
    "Request",
    "Span",
    "prefix_keys",
]
