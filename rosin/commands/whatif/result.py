"""A finished study in figures: its rows, its table, and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.study.axes import Axis, Value
from planner.study.outcome import RIVAL_FIGURES, Outcome
from planner.study.prices import HardwarePrices
from planner.study.sensitivity import Variation
from planner.study.study import Study
from rosin.commands.whatif.analysis import (
    effects,
    pareto_front,
    policy_changes,
    saturations,
    sensitivities,
)
from rosin.commands.whatif.document import Sensitivity, WhatifAxis, WhatifResult, WhatifRow

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Tornado:
    """The base of a study and its variations, planned."""

    base: Outcome
    variations: Sequence[tuple[Variation, Outcome, Outcome]]


def whatif_result(
    study: Study,
    outcomes: Sequence[Outcome],
    prices: HardwarePrices,
    tornado: Tornado | None,
    *,
    command: str,
    num_computed: int,
) -> WhatifResult:
    """All of a finished study but the names of its files."""
    axes = study.axes
    objective = study.objective
    rows = [
        _row(axes, point.values, outcome, prices)
        for point, outcome in zip(study.points(), outcomes, strict=True)
    ]
    return WhatifResult(
        command=command,
        setting=study.base,
        objective=objective,
        axes=[WhatifAxis(path=axis.path, values=list(axis.values)) for axis in axes],
        rows=rows,
        num_computed=num_computed,
        effects=effects(axes, rows, objective),
        policy_changes=policy_changes(axes, rows),
        saturations=saturations(axes, rows, objective),
        sensitivities=_sensitivities(tornado, objective),
        front=pareto_front(rows, objective),
        files=[],
    )


def _row(
    axes: Sequence[Axis], values: Sequence[Value], outcome: Outcome, prices: HardwarePrices
) -> WhatifRow:
    return WhatifRow(
        values={axis.path: value for axis, value in zip(axes, values, strict=True)},
        price_usd=prices.price_usd(axes, values, outcome.machine_price_usd),
        best_named_policy=next(iter(outcome.rivals), None),
        named=outcome.rivals,
        weakest_kind=outcome.weakest["kind"] if outcome.weakest else None,
        **outcome.model_dump(exclude={"machine_price_usd", "rivals", "weakest"}),
    )


def _sensitivities(tornado: Tornado | None, objective: str) -> list[Sensitivity] | None:
    if tornado is None or not tornado.base.is_feasible:
        return None
    return sensitivities(tornado.base, tornado.variations, objective)


def study_table(rows: Sequence[WhatifRow]) -> "pd.DataFrame":
    """One line a point, in the order of the study: values, price, plan, its figures and bounds, the
    best named system, or the shortage.
    """
    import pandas as pd

    return pd.DataFrame([_cells(row) for row in rows], columns=_columns(rows))


def _columns(rows: Sequence[WhatifRow]) -> list[str]:
    """The union of all rows' columns, in the order of a row that has the most."""
    return list(
        dict.fromkeys(
            name
            for row in sorted(rows, key=lambda row: not row.is_feasible)
            for name in _cells(row)
        )
    )


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
