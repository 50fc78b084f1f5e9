"""How a proven lower limit is rounded."""

from hwprofiles.units import NS_PER_S

ROUNDING = 1e-9
"""The share of a bound that is given away for rounding: a sum of 10^5 doubles is far more exact."""


def seconds_below(ns: float) -> float:
    """Return the time in seconds, rounded down by more than arithmetic can have rounded it up, and
    never negative.
    """
    return max(0.0, float(ns) * (1 - ROUNDING) / NS_PER_S)
