"""Make curves of noisy points: falls within the noise are flattened, falls beyond it are kept."""

from collections.abc import Sequence

import numpy as np

LEAST_NOISE_FRACTION = 0.02
"""Least relative noise that every median is taken to have."""


def smoothed(ns: Sequence[float], spread_fractions: Sequence[float]) -> list[float]:
    """Return durations in ns without falls that are within the noise of their points.

    Such points take their common geometric mean. A fall beyond the noise stays: a library that runs
    four tokens faster than two does so for real.
    """
    pools = [
        ([float(value)], float(spread)) for value, spread in zip(ns, spread_fractions, strict=True)
    ]
    place = 0
    while place + 1 < len(pools):
        own, own_spread = pools[place]
        after, after_spread = pools[place + 1]
        fall = 1 - _mean(after) / _mean(own)
        if 0 < fall <= max(own_spread, after_spread, LEAST_NOISE_FRACTION):
            pools[place : place + 2] = [(own + after, max(own_spread, after_spread))]
            # The common mean may now lie below the pool before it.
            place = max(0, place - 1)
        else:
            place += 1
    return [mean for values, _ in pools for mean in [_mean(values)] * len(values)]


def _mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))
