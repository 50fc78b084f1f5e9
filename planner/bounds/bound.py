"""A proven lower limit on a run's times."""

from dataclasses import dataclass

from hwprofiles.units import NS_PER_S

ROUNDING = 1e-9
"""What a bound gives away, relatively, for rounding: sums of at most 10^5 doubles are exact to far
better.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """No plan of the class that ``method`` names ends earlier, has its first token earlier, or
    decodes faster.

    ``decode_s`` is the time from the first output token to the end. ``binding_resource`` is what
    sets the pace for the longest part of the relaxed optimum: ``gpu``, ``cpu``, ``h2d`` or
    ``host``.
    """

    end_to_end_s: float
    ttft_s: float
    decode_s: float
    binding_resource: str
    method: str


def seconds_below(ns: float) -> float:
    """The time in seconds, rounded down by more than arithmetic can have rounded it up, and never
    negative.
    """
    return max(0.0, ns * (1 - ROUNDING) / NS_PER_S)
