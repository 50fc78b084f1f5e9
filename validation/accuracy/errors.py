"""Errors of predictions against measurements: middle, tail, bias, order, coverage."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CLEAR_GAP = 0.05
"""Two measurements of one machine count as ordered when they are further apart than this."""

TAIL = 90


def relative_errors(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """Return absolute errors relative to the measurements."""
    return np.asarray(np.abs(predicted / measured - 1))


def median(values: FloatArray) -> float:
    """The median."""
    return float(np.median(values))


def tail(values: FloatArray) -> float:
    """The 90th percentile."""
    return float(np.percentile(values, TAIL))


def bias(predicted: FloatArray, measured: FloatArray) -> float:
    """The median of predicted over measured, less one."""
    return float(np.median(predicted / measured) - 1)


def median_over_rigs(errors: FloatArray, rigs: Sequence[str]) -> float:
    """The median over machines of each machine's median."""
    # Otherwise a machine with many rows would decide the figure.
    names = np.array(rigs)
    return float(np.median([np.median(errors[names == rig]) for rig in sorted(set(rigs))]))


def mean_over_rigs(values: NDArray[Any], rigs: Sequence[str]) -> float:
    """The mean over machines of each machine's mean."""
    names = np.array(rigs)
    return float(np.mean([np.mean(values[names == rig]) for rig in sorted(set(rigs))]))


def order(predicted: FloatArray, measured: FloatArray, rigs: Sequence[str]) -> float | None:
    """Return the share of clear pairs that are predicted in their order; None without a clear pair.

    A pair is clear if both were measured on one machine, more than CLEAR_GAP apart.
    """
    right = 0
    clear = 0
    # Machines differ more than settings do, so pairs across machines would be too easy.
    for rig in set(rigs):
        own = [index for index, name in enumerate(rigs) if name == rig]
        for first, second in combinations(own, 2):
            gap = measured[first] / measured[second]
            if max(gap, 1 / gap) > 1 + CLEAR_GAP:
                clear += 1
                right += (gap > 1) == (predicted[first] > predicted[second])
    return right / clear if clear else None
