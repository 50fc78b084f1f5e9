"""The engine of the simplest programs, compiled: every task in order on its resource, no
interference, one pass over the table.
"""

from typing import Any

import numpy as np

from sim.engine.compilation import allocating_kernel

Column = Any
"""A one-dimensional array; compiled code takes any integer type."""


@allocating_kernel
def flat_pass(
    resource: Column,
    duration: Column,
    offsets: Column,
    dependencies: Column,
    num_resources: int,
    start_out: Column,
    end_out: Column,
    num_tasks: int,
) -> int:
    """Start and end of the first ``num_tasks`` tasks of the columns, into the arrays given; returns
    the makespan.

    A task starts when the one before it on its resource and all its dependencies have ended.
    Nothing is checked, and arrays may be longer than the tasks, so that other compiled code can
    call it on scratch memory.
    """
    free = np.zeros(num_resources, np.int64)
    makespan = np.int64(0)
    for task in range(num_tasks):
        lane = np.uint64(
            resource[task]
        )  # unsigned: an index that may be negative costs a fifth of the pass
        start = free[lane]
        for place in range(offsets[task], offsets[task + 1]):
            start = max(start, end_out[np.uint64(dependencies[place])])
        end = start + duration[task]
        start_out[task] = start
        end_out[task] = end
        free[lane] = end
        makespan = max(makespan, end)
    return int(makespan)
