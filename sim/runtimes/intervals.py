"""How wide a prediction's interval is: a fitted factor, wider where published rows are known to
scatter more.
"""

from typing import Any

import numpy as np

from sim.runtimes.constants import Interval
from sim.runtimes.features import Features


def relative_width(step: Features, interval: Interval) -> Any:
    """The width of a step's interval over the usual one, in the logarithm.

    Wider on two sockets, without a GPU, and with a GPU alone: published rows of these are few or
    scatter more. Wider too where no measured rate of the CPU's memory is known.
    """
    work = step.work
    is_on_cpu = (work.cpu_expert_bytes + work.cpu_dense_bytes + work.upload_s) > 0
    # Each circumstance widens by the same factor: rows are too few to fit one for each.
    wider = np.where(step.is_on_two_sockets, interval.wider, 1.0)
    wider = wider * np.where(np.asarray(step.probe_bytes_per_s) > 0, 1.0, interval.wider)
    return wider * np.where(np.logical_and(step.has_gpu, is_on_cpu), 1.0, interval.wider)


def half_width(step: Features, interval: Interval) -> Any:
    """The factor by which predictions are multiplied and divided for the interval's ends."""
    return interval.factor ** relative_width(step, interval)
