"""The figure of one number that varies: speed, TTFT and TPOT of the plan and of named systems."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hwprofiles.units import MS_PER_S
from rosin.commands.whatif.analysis import lines_along
from rosin.commands.whatif.document import WhatifResult
from rosin.commands.whatif.map import policy_letters
from rosin.commands.whatif.rows import PointMark, StudyRows
from rosin.report.axis_words import axis_label, format_tick, short, unit, words
from rosin.report.figure_style import (
    MARKERS,
    MAX_TICKS,
    SERIES,
    VERMILION,
    begin_at_zero,
    legend_below,
    tick_plainly,
)

PANELS: tuple[tuple[str, str, float], ...] = (
    ("output_tokens_per_s", "output (tokens/s)", 1.0),
    ("ttft_s", "time to first token (s)", 1.0),
    ("tpot_s", "time per further token (ms)", MS_PER_S),
)
PLAN_COLOR = "#000000"
MISFIT_COLOR = VERMILION
MAX_NAMED = 3
MAX_LINES = len(SERIES)
MAX_LETTERS = 60
"""The most letters along a line that can still be told apart."""
LOG_SPAN = 8.0
"""The ratio of the longest to the shortest time from which an axis is logarithmic."""


def draw_lines(figure: Any, result: WhatifResult, path: str) -> None:
    """Draw three panels over one path, with the plan and the leading named systems.

    If other axes vary, too, each combination has a line of the plan alone (at most MAX_LINES).
    """
    groups = lines_along(path, result.rows.marks)[:MAX_LINES]
    panels = figure.subplots(1, len(PANELS))
    # Letters above several lines would cover each other.
    is_alone = len(groups) == 1
    leading = leading_names(groups[0], result.rows) if is_alone else []
    read = [_read(group, leading, result.rows) for group in groups]
    for axes, (name, label, factor) in zip(panels, PANELS, strict=True):
        if is_alone:
            _draw_plan_and_named(axes, read[0], path, name, factor)
        else:
            _draw_groups(axes, read, path, name, factor)
        _finish(axes, result, path, label)
    meanings = _letter_plans(panels[0], read[0], path) if is_alone else []
    handles, labels = panels[0].get_legend_handles_labels()
    # A legend shows words beside a line only, so each meaning gets one that cannot be seen.
    handles += [panels[0].plot([], [], " ")[0] for _ in meanings]
    labels += meanings
    legend_below(figure, handles, labels)


def leading_names(line: Sequence[PointMark], rows: StudyRows) -> list[str]:
    """Return at most MAX_NAMED named systems.

    Systems that are best at some point come first, then the ones next best at the first point.
    """
    feasible = [mark for mark in line if mark.is_feasible]
    best = [mark.best_named_policy for mark in feasible if mark.best_named_policy]
    first = rows[feasible[0].place].named if feasible else ()
    return list(dict.fromkeys([*best, *first]))[:MAX_NAMED]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """The points of one line, and the figure of each panel at each point."""

    marks: Sequence[PointMark]
    figures: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One line: all its points, the feasible points of the plan, and those of each named system."""

    marks: Sequence[PointMark]
    plan: _Series
    named: Mapping[str, _Series]


def _read(line: Sequence[PointMark], leading: Sequence[str], rows: StudyRows) -> _Line:
    """Read the rows of a line one after another, and keep only the figures that are drawn."""
    feasible = [mark for mark in line if mark.is_feasible]
    found: dict[str | None, tuple[list[PointMark], dict[str, list[float]]]] = {
        name: ([], {panel: [] for panel, _, _ in PANELS}) for name in (None, *leading)
    }
    for mark, row in zip(feasible, rows.at(mark.place for mark in feasible), strict=True):
        for name, (there, figures) in found.items():
            metrics = row.metrics if name is None else row.named.get(name)
            if metrics is not None:
                there.append(mark)
                for panel, _, _ in PANELS:
                    figures[panel].append(metrics[panel])
    plan, plan_figures = found[None]
    return _Line(
        marks=line,
        plan=_Series(marks=plan, figures=plan_figures),
        named={
            name: _Series(marks=marks, figures=figures)
            for name, (marks, figures) in found.items()
            if name is not None
        },
    )


def _draw_plan_and_named(axes: Any, line: _Line, path: str, name: str, factor: float) -> None:
    plan = line.plan
    ys = [figure * factor for figure in plan.figures[name]]
    _plot(axes, path, plan.marks, ys, label="best plan", color=PLAN_COLOR, marker="o", zorder=3)
    for index, (policy, series) in enumerate(line.named.items()):
        ys = [figure * factor for figure in series.figures[name]]
        _plot(
            axes,
            path,
            series.marks,
            ys,
            label=policy,
            color=SERIES[index],
            marker=MARKERS[(index + 1) % len(MARKERS)],
            linestyle="--",
        )
    _draw_misfits(axes, path, line.marks)


def _draw_groups(axes: Any, lines: Sequence[_Line], path: str, name: str, factor: float) -> None:
    for index, line in enumerate(lines):
        values = line.marks[0].values
        label = ", ".join(short(other, value) for other, value in values.items() if other != path)
        ys = [figure * factor for figure in line.plan.figures[name]]
        note = "" if ys else " (does not fit)"
        _plot(
            axes,
            path,
            line.plan.marks,
            ys,
            label=label + note,
            color=SERIES[index],
            marker=MARKERS[(index + 1) % len(MARKERS)],
        )


def _plot(
    axes: Any, path: str, marks: Sequence[PointMark], ys: Sequence[float], **look: Any
) -> None:
    axes.plot(
        [_x(mark, path) for mark in marks], ys, markersize=5, clip_on=not ys, **look
    )  # empty, unclipped lines break the layout


def _draw_misfits(axes: Any, path: str, line: Sequence[PointMark]) -> None:
    """Draw a cross on the axis for each point at which nothing fits."""
    xs = [_x(row, path) for row in line if not row.is_feasible]
    if xs:
        place: Mapping[str, Any] = {
            "transform": axes.get_xaxis_transform(),
            "clip_on": False,
            "linestyle": "none",
        }
        axes.plot(
            xs,
            [0.0] * len(xs),
            "x",
            color=MISFIT_COLOR,
            markersize=8,
            markeredgewidth=2,
            label="does not fit",
            **place,
        )


def _finish(axes: Any, result: WhatifResult, path: str, label: str) -> None:
    values = sorted({_x(mark, path) for mark in result.rows.marks})
    # The scale is the one on which the values lie more evenly.
    is_log = values[0] > 0 and _widest_gap([math.log(value) for value in values]) < _widest_gap(
        values
    )
    if is_log:
        axes.set_xscale("log")
    if len(values) <= MAX_TICKS:
        axes.set_xticks(values, [format_tick(value) for value in values])
        axes.minorticks_off()
    elif is_log:
        tick_plainly(axes.xaxis, values)
    _scale_up(axes, is_time="time" in label)
    axes.set_xlabel(axis_label(path))
    axes.set_ylabel(label)
    axes.grid()


def _widest_gap(values: Sequence[float]) -> float:
    """Return the widest gap between neighbours as a share of the whole; small for even spacing."""
    gaps = [right - left for left, right in pairwise(values)]
    return max(gaps) / sum(gaps) if gaps else 1.0


def _scale_up(axes: Any, *, is_time: bool) -> None:
    """Let the y axis begin at zero, or be logarithmic for times that differ by LOG_SPAN or more."""
    drawn = [float(y) for line in axes.get_lines() for y in line.get_ydata() if y > 0]
    if is_time and drawn and max(drawn) / min(drawn) >= LOG_SPAN:
        axes.set_yscale("log")
        tick_plainly(axes.yaxis, ())
    else:
        begin_at_zero(axes)


def _letter_plans(axes: Any, line: _Line, path: str) -> list[str]:
    """Write a policy's letter above each point of the plan, and return what the letters mean.

    If there are more than MAX_LETTERS points, only points at which the policy changes have letters.
    If those are still too many, no letter is written, and the list is empty.
    """
    plan = line.plan
    points = list(zip(plan.marks, plan.figures["output_tokens_per_s"], strict=True))
    if len(points) > MAX_LETTERS:
        before = [None, *(mark.policy for mark in plan.marks)]
        points = [
            point for last, point in zip(before, points, strict=False) if point[0].policy != last
        ]
    if len(points) > MAX_LETTERS:
        return []
    letters = policy_letters(plan.marks)
    for mark, speed in points:
        axes.annotate(
            letters[mark.policy or ""],
            (_x(mark, path), speed),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )
    return [f"{letter} = {policy}" for policy, letter in letters.items()]


def _x(mark: PointMark, path: str) -> float:
    return float(mark.values[path]) / unit(path)[0]


def lines_title(result: WhatifResult, path: str) -> str:
    """Return the figure's title: the path that varies, and the number of lines left out."""
    num_lines = len(lines_along(path, result.rows.marks))
    left_out = f" (first {MAX_LINES} of {num_lines} lines)" if num_lines > MAX_LINES else ""
    return f"{words(path)} varies{left_out}"
