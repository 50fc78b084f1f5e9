"""The page of a study: from its JSON, or from the table and figures of its folder."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from hwprofiles.input_file import is_file
from hwprofiles.json_rows import JsonRows
from hwprofiles.units import format_duration
from planner.study.outcome import OBJECTIVE_FIGURES
from rosin.commands.report.shapes import StudyFound, StudyRow, check_shape
from rosin.commands.report.svg_figures import svg_figures
from rosin.report.axis_words import at_words
from rosin.report.html.other_sections import (
    MAX_ROWS,
    figures_section,
    rows_section,
    sensitivity_section,
)
from rosin.report.html.page import Page
from rosin.report.tables import format_count

SHOWN = ("output_tokens_per_s", "ttft_s", "tpot_s", "expert_hit_rate")
"""The figures in the row of a point."""
FIRST_FOUND = "price_usd"
"""The first column that every table has; the axes of the study stand before it."""
FOLDER_ALONE = (
    "a folder says neither the command nor what was planned for, so points are ranked by their output; "
    "a page of `rosin whatif --json FILE` has both"
)


def study_page(data: Mapping[str, Any], source: Path) -> Page:
    """Return the page of a document of `rosin whatif --json`.

    Raises InputError for a wrong document.
    """
    check_shape(StudyFound, data, source)
    if not isinstance(data.get("rows"), JsonRows):
        raise InputError(f"{source}: key rows must be a list")
    best = _BestPoint(data["objective"])
    flat: list[dict[str, Any]] = []
    for row in data["rows"]:
        check_shape(StudyRow, row, source)
        if row["is_feasible"]:
            if best.figure not in row["metrics"]:
                raise InputError(f"{source}: a point of the rows has no metrics.{best.figure}")
            best.look(row)
            if len(flat) < MAX_ROWS:
                flat.append({**row["values"], "policy": row["policy"], **_shown(row["metrics"])})
    if not flat:
        raise InputError(f"{source}: nothing fits at any point of the study")
    sections = [rows_section("Every point", "The best plan at each point that fits.", flat)]
    if data.get("sensitivities"):
        sections.insert(0, sensitivity_section(data["sensitivities"]))
    files = [Path(name) for name in data.get("files") or ()]
    sections += figures_section(svg_figures([file for file in files if is_file(file)]))
    return Page(
        title=f"What if: {data['setting']['model']} on {data['setting']['machine']}",
        answer=best.words(),
        command=data["command"],
        sections=sections,
        warnings=data["warnings"],
    )


class _BestPoint:
    """The best point of a study by its objective; the first wins a tie."""

    def __init__(self, objective: str) -> None:
        self._objective = objective
        self.figure = OBJECTIVE_FIGURES[objective]
        self._num_points = 0
        self._best: Mapping[str, Any] = {}
        self._least = math.inf

    def look(self, row: Mapping[str, Any]) -> None:
        """Compare one more point with the best so far."""
        self._num_points += 1
        value = row["metrics"][self.figure]
        cost = -value if self._objective == "throughput" else value
        if not self._best or cost < self._least:
            self._best = row
            self._least = cost

    def words(self) -> str:
        """Return a sentence that names the best point and its figure."""
        objective = self._objective
        value = self._best["metrics"][self.figure]
        at = at_words(self._best["values"]).removeprefix("at ") or "the base"
        figure = (
            f"{format_count(value)} tokens/s"
            if objective == "throughput"
            else f"{objective} {format_duration(value)}"
        )
        found = f"{figure} with {self._best['policy']}"
        return f"The best of {self._num_points} points for {objective} is at {at}: {found}."


def study_folder_page(folder: Path) -> Page:
    """Return the page of a folder of `rosin whatif` that has only the table and the figures.

    Raises InputError for a folder without them.
    """
    figures = svg_figures(sorted(folder.glob("*.svg")))
    table = folder / "table.csv"
    if not figures or not table.is_file():
        raise InputError(
            f"{folder}: no result is in it; name a folder of whatif, validate or accuracy, or a file of --json"
        )
    points = _points(table)
    best = _BestPoint("throughput")
    flat: list[dict[str, Any]] = []
    for values, found in points:
        best.look({"values": values, **found})
        if len(flat) < MAX_ROWS:
            flat.append({**values, "policy": found["policy"], **_shown(found["metrics"])})
    if not flat:
        raise InputError(f"{table}: nothing fits at any point of the study")
    return Page(
        title=f"What if: {folder.resolve().name}",
        answer=best.words(),
        command=f"rosin report {shlex.quote(str(folder))} -o report.html",
        sections=[
            *figures_section(figures),
            rows_section(
                "Every point",
                "The best plan at each point that fits; `table.csv` has all of its figures.",
                flat,
            ),
        ],
        warnings=[FOLDER_ALONE],
    )


def _points(table: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the feasible points of a table as (axis values, policy and metrics)."""
    # pandas is slow to import, and only such a folder needs it.
    import pandas as pd

    frame = pd.read_csv(table)
    missing = [name for name in (FIRST_FOUND, "policy", *SHOWN) if name not in frame.columns]
    if missing:
        raise InputError(f"{table}: no column {missing[0]}; name a table that rosin whatif wrote")
    # What was varied stands before the first column that every table has.
    axes = [str(name) for name in frame.columns[: frame.columns.get_loc(FIRST_FOUND)]]
    points = []
    for row in frame[frame["is_feasible"]].to_dict("records"):
        values = {name: row[name] for name in axes}
        metrics = {name: row[name] for name in SHOWN}
        points.append((values, {"policy": row["policy"], "metrics": metrics}))
    return points


def _shown(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in SHOWN if name in metrics}
