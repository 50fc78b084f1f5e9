"""The table of a study: a line a point."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from planner.study.outcome import RIVAL_FIGURES
from rosin.commands.whatif.rows import WhatifRow

if TYPE_CHECKING:
    import pandas as pd

MISSING = float("nan")
"""What stands where a point has no value in a column."""

CSV_ROWS = 100
"""Rows whose texts pandas makes at a time; a row of texts takes ten times what its numbers do."""


def study_table(rows: Iterable[WhatifRow]) -> "pd.DataFrame":
    """One line a point, in the order of the study: values, price, plan, its figures and bounds, the
    best named system, or the shortage.

    Rows are read one after another, and columns grow; of a row, its cells alone are kept.
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
    """The table as a file has it: one line ending on every system, so that the same study gives the
    same bytes.
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
