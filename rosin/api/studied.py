"""``rosin.study``: the best plan at every point of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rosin.api.result import Result
from rosin.api.setting import Named, SettingValues, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hwprofiles import Machine
    from planner.study.outcome import Outcome
    from planner.study.study import Study
    from rosin.commands.whatif.document import WhatifResult
    from sim.model.model import Model

STUDY_FILE = "study.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Studied(Result):
    """A finished study; ``result`` has its points in order, and the analysis of them."""

    result: WhatifResult

    def __repr__(self) -> str:
        rows = self.result.rows.marks
        paths = ", ".join(axis.path for axis in self.result.axes)
        policies = {row.policy for row in rows if row.is_feasible}
        return f"<Studied {len(rows)} points over {paths}: {len(policies)} different plans>"

    def to_frame(self) -> pd.DataFrame:
        """Return a line for each point: its values, the plan, its figures and bounds."""
        from rosin.commands.whatif.table import study_table

        return study_table(self.result.rows)

    def to_data(self) -> dict[str, Any]:
        """Return the points as ``rosin whatif --json`` has them."""
        data = self.result.data()
        return data | {"rows": list(data["rows"])}

    def plot(self) -> Figure:
        """Draw the objective over the first axis, with a line for each combination of the other
        values.
        """
        from matplotlib.figure import Figure

        from planner.study.outcome import OBJECTIVE_FIGURES

        first, *others = (axis.path for axis in self.result.axes)
        figure_name = OBJECTIVE_FIGURES[self.result.objective]
        lines: dict[str, list[tuple[Any, float]]] = {}
        for mark in self.result.rows.marks:
            label = ", ".join(f"{path} = {mark.values[path]}" for path in others)
            if mark.figure is not None:
                lines.setdefault(label, []).append((mark.values[first], mark.figure))
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for label, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=label or None)
        axes.set_xlabel(first)
        axes.set_ylabel(figure_name)
        axes.spines[["top", "right"]].set_visible(False)
        if others:
            axes.legend(frameon=False)
        return figure


def study(
    model: str | Path | Model,
    machine: str | Path | Machine,
    vary: Mapping[str, Sequence[float | str]],
    *,
    objective: str = "throughput",
    folder: str | Path | None = None,
    has_bounds: bool = False,
    **asked: Unpack[SettingValues],
) -> Studied:
    """Plan anew at every combination of the values in ``vary``.

    ``vary`` names numbers of the machine, or model, machine, quantization, routing, prompt_tokens,
    output_tokens, batch, beams, expert_slots_per_layer or seed. ``folder`` keeps finished points,
    so that a repeated study plans only the missing ones. The points are planned one after another;
    the command ``rosin whatif`` plans them in several processes. Raises hwprofiles.InputError for
    wrong input.

    >>> import rosin
    >>> found = rosin.study("mixtral-8x7b", "desktop-rtx-4090-ddr5", {"batch": [1, 2]},
    ...                     prompt_tokens=4, output_tokens=2, draws=1)
    >>> len(found.to_frame())
    2
    """
    from planner.study.axes import parse_axes
    from planner.study.prices import NO_PRICES
    from planner.study.study import Study
    from planner.study.study_check import check_study
    from rosin.commands.whatif.result import whatif_result
    from rosin.commands.whatif.rows import StudyRows
    from rosin.version import __version__

    question = named(model, machine, asked)
    question.refuse_routing_object()
    texts = [f"{path}={','.join(map(str, values))}" for path, values in vary.items()]
    work = Study(
        base=question.setting,
        axes=parse_axes(texts),
        objective=objective,
        version=__version__,
        has_bounds=has_bounds,
    )
    check_study(work)
    outcomes = _outcomes(work, Path(folder) if folder is not None else None, question)
    rows = StudyRows(work, lambda places: (outcomes[place] for place in places), NO_PRICES)
    result = whatif_result(work, rows, None, command="rosin.study", num_computed=len(outcomes))
    return Studied(result=result)


def _outcomes(work: Study, folder: Path | None, question: Named) -> list[Outcome]:
    """Return the outcomes in the order of the study.

    An outcome that the folder keeps is not planned again.
    """
    from hwprofiles.text_file import make_folder
    from planner.search.inline import InlineExecutor
    from planner.study.outcome import jobs_of
    from planner.study.store import open_store
    from planner.study.sweep import sweep

    # Without a folder, the points lie beside the question's files and are removed with them.
    where = folder or Path(question.folder.name)
    make_folder(where)
    keys = work.keys()
    settings = [point.setting for point in work.points()]
    names = [keys.key(setting) for setting in settings]
    with (
        open_store(where / STUDY_FILE, keys.identity(work.base)) as store,
        InlineExecutor() as executor,
    ):
        sweep(jobs_of(work, settings, names), store, executor)
        return list(store.outcomes(names))
