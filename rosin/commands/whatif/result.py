"""A finished study as a document: its rows, and the analysis of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.study.outcome import Outcome
from planner.study.sensitivity import Variation
from planner.study.study import Study
from rosin.commands.whatif.analysis import (
    effects,
    pareto_front,
    policy_changes,
    saturations,
    sensitivities,
)
from rosin.commands.whatif.document import Sensitivity, WhatifAxis, WhatifResult
from rosin.commands.whatif.rows import StudyRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Tornado:
    """The planned base of a study, and each variation with its two outcomes (low, high)."""

    base: Outcome
    variations: Sequence[tuple[Variation, Outcome, Outcome]]


def whatif_result(
    study: Study,
    rows: StudyRows,
    tornado: Tornado | None,
    *,
    command: str,
    num_computed: int,
) -> WhatifResult:
    """Return the document of a finished study, without the names of its files."""
    axes = study.axes
    objective = study.objective
    marks = rows.marks
    return WhatifResult(
        command=command,
        setting=study.base,
        objective=objective,
        axes=[WhatifAxis(path=axis.path, values=list(axis.values)) for axis in axes],
        rows=rows,
        num_computed=num_computed,
        effects=effects(axes, marks, objective),
        policy_changes=policy_changes(axes, marks),
        saturations=saturations(axes, marks, objective),
        sensitivities=_sensitivities(tornado, objective),
        front=pareto_front(marks, objective),
        files=[],
    )


def _sensitivities(tornado: Tornado | None, objective: str) -> list[Sensitivity] | None:
    # Gains are shares of the base's speed, so without a plan for the base there are none.
    if tornado is None or not tornado.base.is_feasible:
        return None
    return sensitivities(tornado.base, tornado.variations, objective)
