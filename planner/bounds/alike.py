"""Least times of layers by their number of resident experts, where the routing treats all experts
of a layer alike.

Only the number of resident experts matters then, not which experts are resident. Renaming a layer's
experts leaves the routing's distribution as it is, so every placement may be averaged over all
renamings. After that, all sets of m missing experts of a cell are equally likely. The bound
therefore needs no relaxation to shares of an expert. docs/explanation/bounds.md has the proof.
"""

from dataclasses import dataclass
from math import lgamma
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwprofiles.units import MIB
from planner.bounds.compilation import bound_kernel
from planner.bounds.frontier import CellWork, widest_of
from planner.bounds.sets import mean_of_sets, try_sets, ways_of
from planner.bounds.sums import ExpertTimes
from planner.bounds.tables import FEW, QUANTILES, WEIGHTS, Tables
from planner.bounds.work import Floats
from sim.engine.compilation import allocating_part
from sim.memo import num_array_bytes, remembered

MOST_SHARES_BYTES = 192 * MIB
"""The most bytes of ``missing_shares`` arrays that are kept.

A model's cells have some hundred sizes. With 384 experts, the array of one size takes up to a
megabyte.
"""


class Sizes(NamedTuple):
    """The numbers of experts that cells select.

    ``found`` [size] are the different numbers, ascending. ``of_cell`` [cell] is the place in
    ``found`` of a cell's number. ``layers`` [size] are the layers with cells of that size, and a
    second layer where there is only one. ``layer`` [cell] is a cell's layer, of ``num_layers``
    layers.
    """

    found: NDArray[np.int64]
    of_cell: NDArray[np.int64]
    layers: list[NDArray[np.int64]]
    layer: NDArray[np.int64]
    num_layers: int


def sizes_of(work: CellWork, layer: NDArray[np.int64], num_layers: int) -> Sizes:
    """Return the numbers of experts that cells select; ``layer`` [cell] is the layer of each."""
    found, of_cell = np.unique(np.diff(work.offsets), return_inverse=True)
    has = np.zeros((len(found), num_layers), bool)
    has[of_cell, layer] = True
    has[:, 0] |= (
        has.sum(axis=1) == 1
    )  # numpy computes a product with one row in another way, which rounds differently
    has[:, -1] |= has.sum(axis=1) == 1
    return Sizes(
        found=found,
        of_cell=of_cell,
        layers=[np.flatnonzero(row) for row in has],
        layer=layer,
        num_layers=num_layers,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountTimes(ExpertTimes):
    """Sums of the cells' least times in ns, [kind, layer, number of resident experts].

    The last axis runs from 0 to all experts. The sums never rise along it.
    """

    ns: Floats

    def resident_ns(self, kind: int, base_ns: Floats, rent_ns: Floats) -> Floats:
        """Return the least ns [layer] (see ExpertTimes): each layer holds the number of experts
        that costs least.
        """
        rents = rent_ns[:, None] * np.arange(self.ns.shape[2])
        return np.asarray(base_ns + (self.ns[kind] + rents).min(axis=1))

    def savings_per_byte(self, item_bytes: Floats) -> Floats:
        """Return the ns per byte that one more resident expert saves, over all layers and kinds
        (see ExpertTimes).
        """
        steps = -np.diff(self.ns, axis=2) / np.maximum(item_bytes, 1)[None, :, None]
        return np.asarray(steps[steps > 0])


def count_times(
    work: CellWork,
    tables: Tables,
    sizes: Sizes,
    caps: Floats,
    num_experts: int,
) -> CountTimes:
    """Return the sums over the cells of ``work``, averaged over all renamings of the experts.

    ``tables`` and ``sizes`` are those of the same cells. ``caps`` [kind, cell] is the most ns that
    a cell takes.
    """
    by_missing = np.zeros(
        (len(caps), sizes.num_layers, len(sizes.found), int(sizes.found.max(initial=0)) + 1)
    )
    if len(sizes.found):
        add_cells(work, tables, sizes.layer, sizes.of_cell, np.ascontiguousarray(caps), by_missing)
    total = np.zeros((len(caps), sizes.num_layers, num_experts + 1))
    for number, (size, layers) in enumerate(zip(sizes.found.tolist(), sizes.layers, strict=True)):
        total[:, layers] += by_missing[:, layers, number, : size + 1] @ missing_shares(
            num_experts, size
        )
    # One more resident is never worse, since a plan may leave it unused. Rounding may say
    # otherwise.
    return CountTimes(ns=np.minimum.accumulate(total, axis=2))


# Every sum over draws asks for them again.
@remembered(MOST_SHARES_BYTES, num_array_bytes)
def missing_shares(num_experts: int, num_selected: int) -> Floats:
    """Return the probability [missing, resident] that so many of the selected experts are missing.

    The distribution is hypergeometric, since all sets of resident experts are equally likely.
    """
    missing = np.arange(num_selected + 1)[:, None]
    resident = np.arange(num_experts + 1)[None, :]
    is_possible = (missing <= num_experts - resident) & (num_selected - missing <= resident)
    held = np.where(is_possible, num_selected - missing, 0)
    away = np.where(is_possible, missing, 0)
    logs = (
        _log_choose(resident, held)
        + _log_choose(num_experts - resident, away)
        - _log_choose(num_experts, num_selected)
    )
    found: Floats = np.where(is_possible, np.exp(logs), 0.0)
    # Logarithms of factorials are rounded, and a mean needs shares that sum to one.
    return np.asarray(found / found.sum(axis=0))


def _log_choose(of: NDArray[np.int64] | int, some: NDArray[np.int64] | int) -> Floats:
    logs = np.array([lgamma(number + 1) for number in range(int(np.max(of)) + 1)])  # of factorials
    return np.asarray(logs[of] - logs[some] - logs[np.subtract(of, some)])


@bound_kernel
def add_cells(work, tables, layer, size_of, caps, out):  # type: ignore[no-untyped-def]
    """Add the least time of every cell, in ns, to ``out`` [kind, layer, size, m].

    A cell's time is the mean over all sets of m missing experts. With few experts, every set is
    tried. With more, the larger of two bounds counts. In the counted bound, c whole experts run on
    the CPU, resident or not, and at least m - c are copied. In the weighed bound, the longest lane
    takes at least any weighted mean of the lanes. In that mean, every expert takes its cheapest
    lane.
    """
    widest = max(widest_of(work.offsets), FEW)
    counted = np.empty(widest + 1)
    none = np.empty(QUANTILES * WEIGHTS)
    each = np.empty(QUANTILES * WEIGHTS)
    by_set = np.empty(1 << FEW)
    least = np.empty((len(caps), widest + 1))
    cap_of = np.empty(len(caps))
    ways = ways_of(FEW if tables.is_tried.any() else 0)
    offsets = work.offsets
    time_share = work.time_share
    link_share = work.link_share
    is_early = work.is_early
    number_of = tables.number
    is_tried = tables.is_tried
    num_weighed = 0
    before = 0
    for cell in range(len(layer)):
        size, number, own, place = (
            offsets[cell + 1] - offsets[cell],
            number_of[cell],
            layer[cell],
            size_of[cell],
        )
        is_weighed_alike = (
            time_share[cell] == time_share[before] and link_share[cell] == link_share[before]
        )
        if (
            cell == 0
            or number_of[before] != number
            or not is_weighed_alike
            or is_early[cell] != is_early[before]
        ):
            if is_tried[number]:
                try_sets(work, cell, ways, by_set)
            else:
                num_weighed = _least_times(work, cell, tables, counted, none, each)
            cap_of[:] = np.nan  # unlike any: nothing is known yet
        before = cell
        for kind in range(len(caps)):
            if caps[kind, cell] != cap_of[kind]:
                cap_of[kind] = caps[kind, cell]
                # Kinds of plan often have the same cap, for which nothing is computed again.
                twin = 0
                while cap_of[twin] != cap_of[kind]:
                    twin += 1
                if twin < kind:
                    least[kind] = least[twin]
                elif is_tried[number]:
                    mean_of_sets(by_set, ways.num_chosen, size, cap_of[kind], least[kind])
                else:
                    _best_of_counts(
                        counted,
                        none[:num_weighed],
                        each[:num_weighed],
                        size,
                        cap_of[kind],
                        least[kind],
                    )
            for missing in range(size + 1):
                out[kind, own, place, missing] += least[kind, missing]


@allocating_part
def _best_of_counts(counted, none, each, size, cap, least):  # type: ignore[no-untyped-def]
    """Fill ``least`` [missing], in ns, with the larger of the counted and the weighed bound.

    Neither bound exceeds ``cap``, the most that the cell takes. A weighed sum is scaled until it
    keeps to the cap even with all experts missing.
    """
    for missing in range(size + 1):
        least[missing] = min(counted[missing], cap)
    for number in range(len(none)):
        start = none[number]
        rise = each[number] - none[number]
        scale = min(1.0, cap / each[number]) if each[number] > 0 else 1.0
        for missing in range(size + 1):
            least[missing] = max(least[missing], scale * (start + rise * missing / size))


@allocating_part
def _least_times(work, cell, tables, counted, none, each):  # type: ignore[no-untyped-def]
    """Fill ``counted`` [missing], and ``none`` and ``each`` [weighing], for a cell; return the
    number of weighings.

    ``counted`` is the counted bound in ns. ``none`` and ``each`` are the ns that a weighing proves
    with no expert missing and with all experts missing.
    """
    first = work.offsets[cell]
    last = work.offsets[cell + 1]
    number = tables.number[cell]
    size = last - first
    share = work.time_share[cell]
    link_share = work.link_share[cell]
    fetch = work.fetch[cell]
    cpu = work.cpu[first:last]
    gpu = work.gpu[first:last]
    least_gpu = tables.least_gpu[number]
    is_early = work.is_early[cell]
    rows = slice(tables.starts[number], tables.starts[number + 1])
    longer = tables.longer[rows]
    chain = tables.chain[rows]
    up = tables.up[rows]
    best = np.inf
    for missing in range(size, -1, -1):
        held_up = up[missing] if is_early else chain[missing]
        best = min(
            best, share * longer[missing] + link_share * held_up
        )  # that many on the CPU, or more: nothing is copied
        counted[missing] = best
    for copied in range(1, size + 1):
        copies = copied * fetch
        if is_early:
            for count in range(size - copied + 1):
                value = share * longer[count] + link_share * (copies + up[count])
                counted[copied + count] = min(counted[copied + count], value)
        else:
            for count in range(size - copied + 1):
                link = copies + max(up[count], least_gpu)
                value = share * max(longer[count], link) + link_share * max(chain[count], copies)
                counted[copied + count] = min(counted[copied + count], value)
    if tables.is_alike[number]:
        return 0
    prices = np.empty((3, QUANTILES * WEIGHTS))
    if is_early:
        _weigh_early(work, cell, tables.picks[number], prices)
    else:
        _weigh_lanes(work, cell, tables.picks[number], prices)
    _weighed(cpu, gpu, work.beside[cell], prices, none, each)
    return QUANTILES * WEIGHTS


@allocating_part
def _weigh_lanes(work, cell, picks, prices):  # type: ignore[no-untyped-def]
    """Fill ``prices`` [3, weighing] for each weighing of the lanes CPU, GPU and link.

    The rows are the weights of a ns on the CPU and of a ns on the GPU, and the weighted ns of a
    copy.
    """
    first = work.offsets[cell]
    fetch = work.fetch[cell]
    share = work.time_share[cell]
    link_share = work.link_share[cell]
    for step in range(QUANTILES):
        cpu = work.cpu[first + picks[step]]
        gpu = work.gpu[first + picks[step]]
        for way in range(WEIGHTS):
            on_gpu = way / WEIGHTS
            # Computing the expert on the CPU and copying it weigh the same.
            on_cpu = (on_gpu * gpu + (1 - on_gpu) * fetch) / (cpu + fetch)
            # No weight is left for the link: or computing it here and there weigh the same.
            if on_cpu > 1 - on_gpu:
                on_cpu = gpu / (cpu + gpu)
                on_gpu = 1 - on_cpu
            on_link = max(0.0, 1 - on_gpu - on_cpu)
            early = on_cpu / (on_cpu + on_link)
            place = step * WEIGHTS + way
            prices[0, place] = share * on_cpu + link_share * early
            prices[1, place] = share * on_gpu
            prices[2, place] = (share * on_link + link_share * (1 - early)) * fetch


@allocating_part
def _weigh_early(work, cell, picks, prices):  # type: ignore[no-untyped-def]
    """Fill ``prices`` as ``_weigh_lanes`` does, for plans whose copies begin ahead of their gates.

    Only CPU and GPU are lanes of the window then. Every copy counts, at the link's weight.
    """
    first = work.offsets[cell]
    fetch = work.fetch[cell]
    share = work.time_share[cell]
    link_share = work.link_share[cell]
    for step in range(QUANTILES):
        cpu = work.cpu[first + picks[step]]
        gpu = work.gpu[first + picks[step]]
        for way in range(WEIGHTS):
            # From where a resident weighs the same on both to where a missing one does.
            copied = link_share * fetch * way / (WEIGHTS - 1)
            on_cpu = min(1.0, (share * gpu + copied) / (share * (cpu + gpu)))
            place = step * WEIGHTS + way
            prices[0, place] = share * on_cpu
            prices[1, place] = share * (1 - on_cpu)
            prices[2, place] = link_share * fetch


@allocating_part
def _weighed(cpu, gpu, beside, prices, none, each):  # type: ignore[no-untyped-def]
    """Fill ``none`` and ``each`` [weighing]: the ns that each weighing proves with no and with all
    experts missing.

    Every expert takes its cheaper device. All weighings are summed side by side.
    """
    for number in range(len(none)):
        none[number] = each[number] = prices[1, number] * beside
    for expert in range(len(cpu)):
        on_cpu = cpu[expert]
        on_gpu = gpu[expert]
        for number in range(len(none)):
            there = prices[0, number] * on_cpu
            here = prices[1, number] * on_gpu
            none[number] += min(there, here)
            each[number] += min(there, here + prices[2, number])
