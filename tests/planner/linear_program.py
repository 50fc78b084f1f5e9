"""The relaxed placement problem as a linear program, solved by HiGHS: what its dual must reach."""

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from planner.bounds.dual import StaticDual


def linear_optimum_ns(dual: StaticDual) -> float:
    """Minimum over shares x [item] and y [dense part] of GPU memory, 0 ≤ x ≤ y ≤ 1, of the time
    through the lower hulls, y scaled.

    Columns: x, y, time [cell]. A hull's segment from (q, g) with slope s ≥ 0 reads time ≥ y · (g −
    s q) + s · (W y − Σ w x).
    """
    items, cells, parts = len(dual.item_bytes), len(dual.layer), len(dual.on_ns)
    rows, columns, values, right = [], [], [], []

    def add(row: int, column: int, value: float) -> None:
        rows.append(row)
        columns.append(column)
        values.append(value)

    weights = dual.weights_by_cell
    front = dual.frontiers
    for cell in range(cells):
        part = items + int(dual.layer[cell])
        members = range(weights.indptr[cell], weights.indptr[cell + 1])
        for slope, missing, ns in _lines(
            front.missing, front.ns, int(front.offsets[cell]), int(front.offsets[cell + 1])
        ):
            row = len(right)
            right.append(0.0)
            add(row, items + parts + cell, -1.0)
            add(row, part, ns - slope * missing + slope * dual.total_weight[cell])
            for member in members:
                add(row, int(weights.indices[member]), -slope * weights.data[member])
    for item in range(items):
        add(len(right), item, 1.0)
        add(len(right), items + int(dual.item_layer[item]), -1.0)
        right.append(0.0)
    for column, size in enumerate([*dual.item_bytes, *dual.dense_bytes]):
        add(len(right), column, size / dual.capacity_bytes)
    right.append(1.0)
    matrix = coo_array((values, (rows, columns)), shape=(len(right), items + parts + cells)).tocsr()
    costs = np.concatenate([np.zeros(items), dual.on_ns - dual.off_ns, np.ones(cells)])
    bounds = [(0, 1)] * (items + parts) + [(None, None)] * cells
    found = linprog(costs, A_ub=matrix, b_ub=right, bounds=bounds, method="highs")
    assert found.success
    return float(found.fun + dual.off_ns.sum() + dual.rest_ns)


def _lines(
    missing: np.ndarray, ns: np.ndarray, first: int, last: int
) -> list[tuple[float, float, float]]:
    """(slope, missing, ns) of each rising segment, and of the level line through the lowest vertex."""
    lowest = first + int(ns[first:last].argmin())
    rising = [
        ((ns[v + 1] - ns[v]) / (missing[v + 1] - missing[v]), missing[v], ns[v])
        for v in range(lowest, last - 1)
    ]
    return [(0.0, missing[lowest], ns[lowest]), *rising]
