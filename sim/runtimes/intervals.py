"""How wide a prediction's interval is: a fitted factor, wider where published rows are known to scatter more."""

from typing import Any

import numpy as np

from sim.runtimes.constants import Interval
from sim.runtimes.features import Features


def relative_width(step: Features, interval: Interval) -> Any:
    """The width of a step's interval over the usual one, in the logarithm: wider on two sockets, and without a GPU."""
    wider = np.where(step.is_on_two_sockets, interval.wider, 1.0)
    return wider * np.where(step.has_gpu, 1.0, interval.wider)


def half_width(step: Features, interval: Interval) -> Any:
    """The factor by which predictions are multiplied and divided for the interval's ends."""
    return interval.factor ** relative_width(step, interval)
