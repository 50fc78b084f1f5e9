"""The relaxed placement problem as a linear program, solved by HiGHS: what no bound exceeds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from planner.bounds.frontier import frontiers
from planner.bounds.part import MarkedPasses
from planner.bounds.relaxed import Kind, left_beside
from planner.bounds.static import ahead_share, head_times, layer_times, link_share_of
from planner.bounds.stores import Stores


class _Program:
    """Columns: share x of each expert and y of each dense part (the head last) on the GPU, then the
    time of each cell; rows are upper limits.
    """

    def __init__(self, stores: Stores) -> None:
        self.num_items = len(stores.expert_bytes) * stores.num_experts
        self.bytes = np.concatenate(
            [
                np.repeat(stores.expert_bytes, stores.num_experts),
                stores.dense_bytes,
                [stores.head_bytes],
            ]
        )
        self.costs = np.zeros(len(self.bytes))
        self.constant_ns = 0.0
        self.num_cells = 0
        self._entries: list[tuple[int, int, float]] = []
        self._limits: list[float] = []

    def add_row(self, entries: dict[int, float], limit: float) -> None:
        """Add a row: the sum over columns is at most the limit."""
        row = len(self._limits)
        self._entries += [(row, column, value) for column, value in entries.items()]
        self._limits.append(limit)

    def add_draw(self, whole: MarkedPasses, stores: Stores, kind: Kind) -> None:
        """Add one draw's times, for plans of that kind."""
        work = whole.work
        share = link_share_of(work, kind)
        on, off = layer_times(work, share, kind)
        head_on, head_off = head_times(work, share, kind)
        ahead = ahead_share(work, share, whole.marked) * stores.ns_per_byte(work)
        self.costs += ahead * self.bytes
        self.costs[self.num_items :] += np.append(
            (on - off).sum(axis=0), (head_on - head_off).sum()
        )
        self.constant_ns += off.sum() + head_off.sum() + ((1 - share) * work.step_overhead).sum()
        self.constant_ns -= ahead * stores.memory_bytes
        self._add_cells(whole, share, (off - on).ravel()[whole.cell_of], kind)

    def _add_cells(
        self, whole: MarkedPasses, share: NDArray[np.float64], cap: NDArray[np.float64], kind: Kind
    ) -> None:
        """A hull's segment from (q, g) with slope s ≥ 0 reads time ≥ y · (g − s q) + s · (W y − Σ w
        x).
        """
        is_early = kind is not None and kind.is_early
        front = frontiers(whole.weighed(share, is_prompt_early=is_early))
        for cell, layer in enumerate(whole.layer.tolist()):
            inside = slice(whole.cells.offsets[cell], whole.cells.offsets[cell + 1])
            weight = front.weight[inside]
            items = whole.cells.item[inside].tolist()
            own = slice(front.offsets[cell], front.offsets[cell + 1])
            capped = np.minimum(front.ns[own], cap[cell])
            for slope, missing, ns in _lines(*_hull(front.missing[own], capped)):
                entries = dict(zip(items, -slope * weight, strict=True))
                entries[self.num_items + layer] = ns + slope * (weight.sum() - missing)
                entries[len(self.bytes) + self.num_cells] = -1.0
                self.add_row(entries, 0.0)
            self.num_cells += 1

    def optimum_ns(self) -> float:
        """Return the least time of all draws."""
        rows, columns, values = zip(*self._entries, strict=True)
        width = len(self.bytes) + self.num_cells
        matrix = coo_array((values, (rows, columns)), shape=(len(self._limits), width)).tocsr()
        found = linprog(
            np.append(self.costs, np.ones(self.num_cells)),
            A_ub=matrix,
            b_ub=self._limits,
            bounds=[(0, 1)] * len(self.bytes) + [(None, None)] * self.num_cells,
            method="highs",
        )
        assert found.success
        return float(found.fun + self.constant_ns)


def linear_optimum_ns(wholes: Sequence[MarkedPasses], stores: Stores, kind: Kind) -> float:
    """Minimum over shares of experts and dense parts in GPU memory, x ≤ y, of the time of all
    draws through the lower hulls, y scaled, for plans of that kind.
    """
    program = _Program(stores)
    for whole in wholes:
        program.add_draw(whole, stores, kind)
    for item in range(program.num_items):
        dense = program.num_items + item // stores.num_experts
        program.add_row({item: 1.0, dense: -1.0}, 0.0)
    room = left_beside(
        stores, kind
    ).capacity_bytes  # in shares of it, so that HiGHS sees numbers near one
    program.add_row({place: size / room for place, size in enumerate(program.bytes)}, 1.0)
    return program.optimum_ns()


def _hull(
    missing: NDArray[np.float64], ns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lower convex hull of points in the order of what is missing."""
    kept: list[int] = []
    for point in range(len(ns)):
        while len(kept) > 1:
            before, last = kept[-2:]
            there = (ns[last] - ns[before]) * (missing[point] - missing[before])
            if there < (ns[point] - ns[before]) * (missing[last] - missing[before]):
                break
            kept.pop()
        kept.append(point)
    return missing[kept], ns[kept]


def _lines(
    missing: NDArray[np.float64], ns: NDArray[np.float64]
) -> list[tuple[float, float, float]]:
    """(slope, missing, ns) of each rising segment, and of the level line through the lowest vertex."""
    lowest = int(ns.argmin())
    rising = [
        ((ns[v + 1] - ns[v]) / (missing[v + 1] - missing[v]), missing[v], ns[v])
        for v in range(lowest, len(ns) - 1)
    ]
    return [(0.0, missing[lowest], ns[lowest]), *rising]
