"""Tables of the times of a cell's experts, by how many of them the CPU runs.

The tables do not depend on the link's weight, so they are computed once for all its weights.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.bounds.compilation import bound_kernel
from planner.bounds.frontier import CellWork, ascending, has_same_experts
from planner.bounds.work import Floats
from sim.engine.compilation import allocating_part

SPREAD = 1e-9
"""The relative difference of prices up to which a cell's experts are alike.

No weighing of lanes then proves more than counting the experts does.
"""

FEW = 8
"""The most selected experts of a cell for which all sets are tried.

Every set of missing experts is tried with every set on the CPU.
"""

WEIGHTS = 8
"""Steps in which a lane's weight is tried."""
QUANTILES = 6
"""The number of experts, from the cheapest to the dearest on the CPU, at which weights are set."""


class Tables(NamedTuple):
    """Times of the experts of each different cell, in ns, whatever the link's weight.

    ``number`` [cell] is a cell's place among the different cells; equal neighbours share one.
    [number]: ``is_tried`` marks cells of which all sets are tried, ``is_alike`` cells whose experts
    cost the same. ``least_gpu`` [number] is the cheapest expert on the GPU. ``picks`` [number,
    quantile] are experts at quantiles of the price on the CPU.

    ``starts`` [number + 1] bounds the rows of each cell that is not tried: one for each number of
    experts on the CPU. [row]: ``longer`` is the longer lane of CPU and GPU, ``chain`` the CPU's
    lane, ``up`` what that lane sends up.
    """

    number: NDArray[np.int64]
    is_tried: NDArray[np.bool_]
    is_alike: NDArray[np.bool_]
    least_gpu: Floats
    picks: NDArray[np.int64]
    starts: NDArray[np.int64]
    longer: Floats
    chain: Floats
    up: Floats


def tables_of(work: CellWork) -> Tables:
    """Return the tables of those cells; the link's weights in ``work`` are not read."""
    return Tables(*_tables(work))


@bound_kernel
def _tables(work):  # type: ignore[no-untyped-def]
    """The columns of ``Tables``."""
    num_cells = len(work.offsets) - 1
    number = np.empty(num_cells, np.int64)
    cells = np.empty(num_cells, np.int64)
    num = 0
    rows = 0
    starts = np.empty(num_cells + 1, np.int64)
    is_tried = np.empty(num_cells, np.bool_)
    is_alike = np.empty(num_cells, np.bool_)
    for cell in range(num_cells):
        # Cells of single tokens are mostly like the one before.
        if cell == 0 or not has_same_experts(work, cell, cell - 1):
            first = work.offsets[cell]
            last = work.offsets[cell + 1]
            cells[num] = cell
            starts[num] = rows
            is_alike[num] = _are_alike(work.cpu[first:last], work.gpu[first:last])
            is_tried[num] = last - first <= FEW and not is_alike[num]
            rows += 0 if is_tried[num] else last - first + 1
            num += 1
        number[cell] = num - 1
    starts[num] = rows
    longer = np.empty(rows)
    chain = np.empty(rows)
    up = np.empty(rows)
    least_gpu = np.empty(num)
    picks = np.empty((num, QUANTILES), np.int64)
    for which in range(num):
        if not is_tried[which]:
            own = slice(starts[which], starts[which + 1])
            num_weights = 1 if is_alike[which] else WEIGHTS
            least_gpu[which] = _fill_table(
                work, cells[which], num_weights, longer[own], chain[own], up[own]
            )
            if not is_alike[which]:
                _pick(work, cells[which], picks[which])
    return (
        number,
        is_tried[:num],
        is_alike[:num],
        least_gpu,
        picks,
        starts[: num + 1],
        longer,
        chain,
        up,
    )


@allocating_part
def _fill_table(work, cell, num_weights, longer, chain, up):  # type: ignore[no-untyped-def]
    """Fill the rows of a cell; return the least ns of one of its experts on the GPU."""
    first = work.offsets[cell]
    last = work.offsets[cell + 1]
    size = last - first
    cpu = work.cpu[first:last]
    gpu = work.gpu[first:last]
    fewest = ascending(work.tokens[first:last])
    cheapest = np.sort(cpu)
    around = np.zeros(size + 1)
    sent = 0
    on_cpu = 0.0
    chain[0] = 0.0
    up[0] = 0.0
    for count in range(1, size + 1):
        sent = min(sent + int(fewest[count - 1]), work.num_tokens[cell])
        on_cpu += cheapest[count - 1]
        up[count] = work.up[sent]
        around[count] = up[count] + work.down[sent]
        chain[count] = on_cpu + around[count]
    _two_lanes(cpu, gpu, work.beside[cell], around, num_weights, longer)
    return gpu.min()


@allocating_part
def _pick(work, cell, picks):  # type: ignore[no-untyped-def]
    """Fill ``picks`` with the experts of a cell at quantiles of the price on the CPU."""
    order = np.argsort(work.cpu[work.offsets[cell] : work.offsets[cell + 1]])
    for step in range(QUANTILES):
        # The middle expert of each sixth stands for all of it.
        picks[step] = order[(2 * step + 1) * len(order) // (2 * QUANTILES)]


@allocating_part
def _are_alike(cpu, gpu):  # type: ignore[no-untyped-def]
    """Whether all experts of a cell cost the same."""
    return cpu.max() <= cpu.min() * (1 + SPREAD) and gpu.max() <= gpu.min() * (1 + SPREAD)


@allocating_part
def _two_lanes(cpu, gpu, beside, around, num_weights, longer):  # type: ignore[no-untyped-def]
    """Fill ``longer`` [c] with the least ns of the longer of GPU and CPU, with any c experts on the
    CPU.

    The CPU's chain also takes ``around`` [c]. For each weight of the CPU, the c experts that raise
    the weighted sum least bound any choice.
    """
    all_gpu = beside + gpu.sum()
    longer[:] = 0.0
    for step in range(num_weights + 1):
        weight = step / num_weights
        changes = np.sort(weight * cpu - (1 - weight) * gpu)
        value = (1 - weight) * all_gpu
        longer[0] = max(longer[0], value)
        for count in range(1, len(cpu) + 1):
            value += changes[count - 1]
            longer[count] = max(longer[count], value + weight * around[count])
