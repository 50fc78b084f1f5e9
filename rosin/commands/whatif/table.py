"""The table of a study, with one line for each point."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from planner.study.outcome import RIVAL_FIGURES
from rosin.commands.whatif.rows import WhatifRow

if TYPE_CHECKING:
    import pandas as pd

MISSING = float("nan")
"""The value of a column that a point does not have."""

CSV_ROWS = 100
"""The rows that pandas writes as text at a time; text takes ten times the memory of numbers."""


def study_table(rows: Iterable[WhatifRow]) -> "pd.DataFrame":
    """Return one line for each point, in the order of the study.

    A line has the point's values and price, its plan with figures and bounds, and the best named
    system. An infeasible point has its missing bytes. Rows are read one after another, and only
    their cells are kept.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    # The order of columns is that of the rows that fit, which have the most.
    order: dict[str, None] = {}
    texts: dict[str, str] = {}
    num_rows = 0
    for row in rows:
        cells = _cells(row)
        for name, value in cells.items():
            column = columns.setdefault(name, [])
            column += [MISSING] * (num_rows - len(column))
            # One text for all points that say it.
            column.append(texts.setdefault(value, value) if isinstance(value, str) else value)
        if row.is_feasible:
            order |= dict.fromkeys(cells)
        num_rows += 1
    for column in columns.values():
        column += [MISSING] * (num_rows - len(column))
    return pd.DataFrame({name: columns[name] for name in order | dict.fromkeys(columns)})


def table_csv(table: "pd.DataFrame") -> bytes:
    """Return the table as CSV.

    All systems use the same line ending, so that the same study gives the same bytes.
    """
    return table.to_csv(index=False, lineterminator="\n", chunksize=CSV_ROWS).encode()


def _cells(row: WhatifRow) -> dict[str, Any]:
    named = row.named.get(row.best_named_policy or "", {})
    return {
        **row.values,
        "price_usd": row.price_usd,
        "is_feasible": row.is_feasible,
        "policy": row.policy,
        **row.metrics,
        **row.bounds,
        "binding_resource": row.binding_resource,
        "best_named_policy": row.best_named_policy,
        **{f"best_named_{name}": named.get(name) for name in RIVAL_FIGURES},
        "weakest_kind": row.weakest_kind,
        "timeline_digest": row.timeline_digest,
        "reason": row.reason,
        "missing_bytes": row.missing_bytes,
    }
