"""Frontiers: the least time of one layer of one pass by how many of its experts are missing.

A frontier is a lower bound, convex and piecewise linear.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.bounds.compilation import bound_kernel
from planner.bounds.work import Floats
from sim.engine.compilation import allocating_part

UNIFORM_SPREAD = 1.02
"""The ratio of CPU prices up to which the experts of a cell are counted, one unit each.

Above this ratio, experts are weighed by their CPU prices.
"""


SAME = 1e-9
"""The relative difference of weights below which two points are one.

That point has the larger weight and the lesser time, which only lowers the hull.
"""


class CellWork(NamedTuple):
    """The work of the experts of some cells, in ns.

    [triple]: ``cpu`` and ``gpu`` are the times of a selected expert, ``tokens`` its tokens;
    ``offsets`` [cell + 1] bounds the triples of each cell. [cell]: ``fetch`` is the copy of one
    expert, ``beside`` the GPU's work beside single experts, ``num_tokens`` the tokens of the pass.
    ``down`` and ``up`` [tokens] are copies of activations.

    A cell counts ``time_share`` of its window, which lasts as long as the longest lane. It counts
    ``link_share`` of the time that keeps the link from copying layers ahead. Where ``is_early``,
    the link is no lane of the window, and all its copies count at ``link_share`` instead.
    """

    cpu: Floats
    gpu: Floats
    tokens: NDArray[np.int64]
    offsets: NDArray[np.int64]
    fetch: Floats
    beside: Floats
    num_tokens: NDArray[np.int64]
    down: Floats
    up: Floats
    time_share: Floats
    link_share: Floats
    is_early: NDArray[np.bool_]


class Frontiers(NamedTuple):
    """The vertices of every cell's lower convex hull, from no missing expert to all.

    [vertex]: ``missing`` is the weight of the missing experts, ``ns`` the least time. ``offsets``
    [cell + 1] bounds the vertices of each cell. ``weight`` [triple] is the weight of an expert.
    """

    missing: Floats
    ns: Floats
    offsets: NDArray[np.int64]
    weight: Floats


@allocating_part
def widest_of(offsets):  # type: ignore[no-untyped-def]
    """Return the most experts that a cell has."""
    # A loop: ``np.diff`` alone takes three seconds to compile.
    widest = 0
    for cell in range(len(offsets) - 1):
        widest = max(widest, offsets[cell + 1] - offsets[cell])
    return widest


@allocating_part
def ascending(tokens):  # type: ignore[no-untyped-def]
    """Return whole numbers sorted from the least to the most, as floats."""
    # Floats are sorted anyway, and to compile one more sort takes a second.
    values = np.empty(len(tokens))
    for place in range(len(tokens)):
        values[place] = tokens[place]
    return np.sort(values)


@allocating_part
def _counted(work, cell, missing, ns):  # type: ignore[no-untyped-def]
    """Fill the points (m, least ns with m experts missing) of a cell for all m; return how many
    there are.

    Every split of m into experts on the CPU and copies is tried. On the CPU, c experts cost at
    least the c cheapest there. These c experts relieve the GPU by at most its c dearest, and move
    at least the fewest tokens.
    """
    first = work.offsets[cell]
    last = work.offsets[cell + 1]
    # Each is sorted in the order that is best for a plan by itself. No choice of experts can be
    # best in all three, so none takes less.
    cpu = np.sort(work.cpu[first:last])
    gpu = np.sort(work.gpu[first:last])[::-1]
    tokens = ascending(work.tokens[first:last])
    size = last - first
    share = work.time_share[cell]
    is_early = work.is_early[cell]
    all_gpu = work.beside[cell] + gpu.sum()
    on_cpu = np.zeros(size + 1)
    off_gpu = np.zeros(size + 1)
    up = np.zeros(size + 1)
    sent = 0
    for count in range(1, size + 1):
        sent = min(sent + int(tokens[count - 1]), work.num_tokens[cell])
        up[count] = work.up[sent]
        off_gpu[count] = off_gpu[count - 1] + gpu[count - 1]
        on_cpu[count] = on_cpu[count - 1] + cpu[count - 1]
    for total in range(size + 1):
        missing[total] = total
        ns[total] = np.inf
    sent = 0
    for count in range(size + 1):
        if count > 0:
            sent = min(sent + int(tokens[count - 1]), work.num_tokens[cell])
        chain = on_cpu[count] + up[count] + (work.down[sent] if count > 0 else 0.0)
        for copies in range(size - count + 1):
            # Behind the last copy, its expert has still to run or the activations to return.
            link = copies * work.fetch[cell] + max(up[count], gpu[size - 1]) if copies > 0 else 0.0
            longest = max(all_gpu - off_gpu[count], chain, 0.0 if is_early else link)
            alone = copies * work.fetch[cell]
            held_up = work.link_share[cell] * (alone + up[count] if is_early else max(chain, alone))
            ns[count + copies] = min(ns[count + copies], share * longest + held_up)
    return size + 1


@allocating_part
def _gpu_tangent(work, cell, weight, slope):  # type: ignore[no-untyped-def]
    """Return a line (value at 0, fall per unit) below the GPU's work by the weight taken off it.

    The GPU's work is least if the experts with most GPU work per weight are taken off first. The
    least work is convex in the weight, so each of its segments, extended, stays below it. The line
    is the segment where the CPU's line meets that least work.
    """
    first = work.offsets[cell]
    last = work.offsets[cell + 1]
    order = np.argsort(-work.gpu[first:last] / weight)
    value = work.beside[cell] + work.gpu[first:last].sum()
    at = 0.0
    start = value
    fall = 0.0
    for position in order:
        fall = work.gpu[first + position] / weight[position]
        start = value + fall * at
        value -= work.gpu[first + position]
        at += weight[position]
        if slope * at >= value:
            break
    return start, fall


@allocating_part
def _weighed(work, cell, weight, missing, ns):  # type: ignore[no-untyped-def]
    """Fill the points (missing weight, least ns) of a cell; return how many there are.

    f experts are copied, and any further weight is on the CPU, whose time is exactly proportional
    to that weight. Between two points, the longest lane is linear in that weight. The f experts
    count as the heaviest, which overstates the weight that is missing at that time. So the hull
    holds for slopes of at least 0.
    """
    first = work.offsets[cell]
    last = work.offsets[cell + 1]
    total = weight.sum()
    size = last - first
    share = work.time_share[cell]
    is_early = work.is_early[cell]
    least = min(work.tokens[first:last].min(), work.num_tokens[cell])
    # Activations move as soon as one expert runs on the CPU. Spread over all the weight they are
    # never overstated.
    slope = (work.cpu[first:last].sum() + work.down[least] + work.up[least]) / total
    start, fall = _gpu_tangent(work, cell, weight, slope)
    ascending = np.sort(weight)
    least_gpu = work.gpu[first:last].min()
    num, copied, lightest = 0, 0.0, 0.0
    for copies in range(size + 1):
        if copies > 0:
            copied += ascending[size - copies]
            lightest += ascending[copies - 1]
        link = copies * work.fetch[cell] + least_gpu if copies > 0 and not is_early else 0.0
        most = max(0.0, total - lightest)
        # The longest lane changes at these points alone, and is linear between them.
        for which in range(7):
            if which == 0:
                at = 0.0
            elif which == 1:
                at = most
            elif which == 5:
                at = max(0.0, total - copied)
            elif which == 2:
                at = start / (slope + fall)
            elif which == 3:
                at = link / slope
            elif which == 6:
                at = copies * work.fetch[cell] / slope
            else:
                at = (start - link) / fall if fall > 0 else 0.0
            if 0 <= at <= most:
                longest = max(start - fall * at, slope * at, link)
                alone = copies * work.fetch[cell]
                held_up = work.link_share[cell] * (alone if is_early else max(slope * at, alone))
                missing[num] = min(total, copied + at)
                ns[num] = share * longest + held_up
                num += 1
    return num


@allocating_part
def _hull(missing, ns, num, out_missing, out_ns, start):  # type: ignore[no-untyped-def]
    """Append the lower convex hull of the first ``num`` points to the vertices; return their new
    end.
    """
    end = start
    for point in np.argsort(missing[:num]):
        x = missing[point]
        y = ns[point]
        if end > start and x <= out_missing[end - 1] + SAME * out_missing[end - 1]:
            if y >= out_ns[end - 1]:
                out_missing[end - 1] = x
                continue
            end -= 1
        while end - start >= 2:
            ax = out_missing[end - 2]
            ay = out_ns[end - 2]
            bx = out_missing[end - 1]
            by = out_ns[end - 1]
            if (by - ay) * (x - ax) < (y - ay) * (bx - ax):
                break
            end -= 1
        out_missing[end] = x
        out_ns[end] = y
        end += 1
    return end


@allocating_part
def has_same_experts(work, cell, other):  # type: ignore[no-untyped-def]
    """Whether two cells have equal work of experts, in the same order, and equal work beside it."""
    first = work.offsets[cell]
    second = work.offsets[other]
    size = work.offsets[cell + 1] - work.offsets[cell]
    if work.offsets[other + 1] - second != size or work.num_tokens[cell] != work.num_tokens[other]:
        return False
    if work.fetch[cell] != work.fetch[other] or work.beside[cell] != work.beside[other]:
        return False
    for place in range(size):
        if work.tokens[first + place] != work.tokens[second + place]:
            return False
        if (
            work.cpu[first + place] != work.cpu[second + place]
            or work.gpu[first + place] != work.gpu[second + place]
        ):
            return False
    return True


@allocating_part
def _is_same(work, cell, other):  # type: ignore[no-untyped-def]
    """Whether two cells are equal in everything that a frontier depends on."""
    if work.is_early[cell] != work.is_early[other]:
        return False
    if (
        work.time_share[cell] != work.time_share[other]
        or work.link_share[cell] != work.link_share[other]
    ):
        return False
    return has_same_experts(work, cell, other)


@bound_kernel
def fill_frontiers(work, missing, ns, offsets, weight, spread):  # type: ignore[no-untyped-def]
    """Fill the columns of ``Frontiers``; return how many vertices there are."""
    end = 0
    widest = widest_of(work.offsets)
    x = np.empty(7 * widest + 7)
    y = np.empty(7 * widest + 7)
    before = -1
    for cell in range(len(offsets) - 1):
        first = work.offsets[cell]
        last = work.offsets[cell + 1]
        if before >= 0 and _is_same(work, cell, before):  # as most cells of single tokens are
            start = offsets[before]
            count = offsets[before + 1] - offsets[before]
            weight[first:last] = weight[work.offsets[before] : work.offsets[before + 1]]
            for vertex in range(count):
                missing[end + vertex] = missing[start + vertex]
                ns[end + vertex] = ns[start + vertex]
            end += count
            offsets[cell + 1] = end
            continue
        before = cell
        prices = work.cpu[first:last]
        # An expert that costs the CPU nothing has no weight by its price, so such cells are
        # counted.
        if prices.max() <= spread * prices.min() or prices.min() <= 0:
            weight[first:last] = 1.0
            num = _counted(work, cell, x, y)
        else:
            weight[first:last] = prices / prices.mean()
            num = _weighed(work, cell, weight[first:last], x, y)
        end = _hull(x, y, num, missing, ns, end)
        offsets[cell + 1] = end
    return end


def frontiers(work: CellWork) -> Frontiers:
    """Return the frontier of every cell."""
    num_cells = len(work.offsets) - 1
    # As many points as weighing tries for each number of copies.
    size = 7 * (len(work.cpu) + num_cells)
    missing = np.empty(size)
    ns = np.empty(size)
    offsets = np.zeros(num_cells + 1, np.int64)
    weight = np.empty(len(work.cpu))
    end = fill_frontiers(work, missing, ns, offsets, weight, UNIFORM_SPREAD) if num_cells else 0
    return Frontiers(missing=missing[:end], ns=ns[:end], offsets=offsets, weight=weight)
