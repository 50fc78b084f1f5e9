"""The compiled one-pass engine, for tasks on in-order resources without interference."""

from typing import Any

import numpy as np

from sim.engine.compilation import allocating_kernel
from sim.engine.state import EngineColumns

Column = Any
"""A one-dimensional array; compiled code takes any integer type."""


@allocating_kernel
def flat_pass(
    columns: EngineColumns, num_resources: int, start_out: Column, end_out: Column
) -> int:
    """Write the start and end of every task (ns) into the given arrays; return the makespan (ns).

    A task starts when the task before it on its resource and all its dependencies have ended.
    Nothing is checked.
    """
    free = np.zeros(num_resources, np.int64)
    makespan = np.int64(0)
    for task in range(len(columns.resource)):
        # unsigned: an index that may be negative costs a fifth of the pass
        lane = np.uint64(columns.resource[task])
        start = free[lane]
        for place in range(columns.offsets[task], columns.offsets[task + 1]):
            start = max(start, end_out[np.uint64(columns.dependencies[place])])
        end = start + columns.duration[task]
        start_out[task] = start
        end_out[task] = end
        free[lane] = end
        makespan = max(makespan, end)
    return int(makespan)
