"""One in-order program with many sets of durations: all makespans at once, over all cores."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.engine.compilation import parallel_kernel
from sim.engine.flat import flat_pass

_prange: Any = numba.prange


def makespans(
    resource: NDArray[np.int16],
    dependency_offsets: NDArray[np.int64],
    dependencies: NDArray[np.int64],
    durations_CN: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The makespan (ns, length C) of the program under each of C rows of N durations, without
    interference, all resources in order.

    Tasks are not checked beyond their shapes: they must be such as ``run_program`` accepts.
    """
    num_tasks = len(resource)
    if (
        durations_CN.ndim != 2
        or durations_CN.shape[1] != num_tasks
        or len(dependency_offsets) != num_tasks + 1
    ):
        raise InputError(
            f"durations must be C x {num_tasks} and offsets {num_tasks + 1} for {num_tasks} tasks, got {durations_CN.shape}"
        )
    num_resources = int(resource.max(initial=-1)) + 1
    makespans_C = np.empty(len(durations_CN), np.int64)
    _makespans(
        resource,
        dependency_offsets,
        dependencies,
        np.ascontiguousarray(durations_CN),
        num_resources,
        makespans_C,
    )
    return makespans_C


@parallel_kernel
def _makespans(
    resource: Any,
    offsets: Any,
    dependencies: Any,
    durations_CN: Any,
    num_resources: int,
    makespans_C: Any,
) -> None:
    num_candidates, num_tasks = durations_CN.shape
    for candidate in _prange(num_candidates):
        start, end = np.empty(num_tasks, np.int64), np.empty(num_tasks, np.int64)
        makespans_C[candidate] = flat_pass(
            resource,
            durations_CN[candidate],
            offsets,
            dependencies,
            num_resources,
            start,
            end,
            num_tasks,
        )
