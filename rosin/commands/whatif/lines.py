"""One number varies: speed, time to the first token and time a token, of the plan and of the best
named systems.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hwprofiles.units import MS_PER_S
from rosin.commands.whatif.analysis import lines_along
from rosin.commands.whatif.document import WhatifResult, WhatifRow
from rosin.commands.whatif.map import policy_letters
from rosin.report.axis_words import axis_label, format_tick, short, unit, words
from rosin.report.figure_style import (
    MARKERS,
    MAX_TICKS,
    SERIES,
    VERMILION,
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
LOG_SPAN = 8.0
"""Times that span more than this are drawn on a logarithmic axis."""


def draw_lines(figure: Any, result: WhatifResult, path: str) -> None:
    """Three panels over one path; where names vary too, one line for each (at most MAX_LINES), of
    the plan alone.
    """
    groups = lines_along(path, result.rows)[:MAX_LINES]
    panels = figure.subplots(1, len(PANELS))
    for axes, (name, label, factor) in zip(panels, PANELS, strict=True):
        if len(groups) == 1:
            _draw_plan_and_named(axes, groups[0], path, name, factor)
        else:
            _draw_groups(axes, groups, path, name, factor)
        _finish(axes, result, path, label)
    # Letters above several lines would cover each other.
    meanings = _letter_plans(panels[0], groups[0], path) if len(groups) == 1 else []
    handles, labels = panels[0].get_legend_handles_labels()
    # A legend shows words beside a line only, so each meaning gets one that cannot be seen.
    handles += [panels[0].plot([], [], " ")[0] for _ in meanings]
    labels += meanings
    legend_below(figure, handles, labels)


def leading_names(rows: Sequence[WhatifRow]) -> list[str]:
    """The named systems that are best somewhere, then those next best at the first point, at most
    MAX_NAMED.
    """
    feasible = [row for row in rows if row.is_feasible]
    best = [row.best_named_policy for row in feasible if row.best_named_policy]
    return list(dict.fromkeys([*best, *(feasible[0].named if feasible else ())]))[:MAX_NAMED]


def _draw_plan_and_named(
    axes: Any, line: Sequence[WhatifRow], path: str, name: str, factor: float
) -> None:
    feasible = [row for row in line if row.is_feasible]
    ys = [row.metrics[name] * factor for row in feasible]
    _plot(axes, path, feasible, ys, label="best plan", color=PLAN_COLOR, marker="o", zorder=3)
    for index, policy in enumerate(leading_names(line)):
        there = [row for row in feasible if policy in row.named]
        ys = [row.named[policy][name] * factor for row in there]
        _plot(
            axes,
            path,
            there,
            ys,
            label=policy,
            color=SERIES[index],
            marker=MARKERS[(index + 1) % len(MARKERS)],
            linestyle="--",
        )
    _draw_misfits(axes, path, line)


def _draw_groups(
    axes: Any, groups: Sequence[Sequence[WhatifRow]], path: str, name: str, factor: float
) -> None:
    for index, line in enumerate(groups):
        feasible = [row for row in line if row.is_feasible]
        label = ", ".join(
            short(other, value) for other, value in line[0].values.items() if other != path
        )
        ys = [row.metrics[name] * factor for row in feasible]
        note = "" if feasible else " (does not fit)"
        _plot(
            axes,
            path,
            feasible,
            ys,
            label=label + note,
            color=SERIES[index],
            marker=MARKERS[(index + 1) % len(MARKERS)],
        )


def _plot(
    axes: Any, path: str, rows: Sequence[WhatifRow], ys: Sequence[float], **look: Any
) -> None:
    axes.plot(
        [_x(row, path) for row in rows], ys, markersize=5, clip_on=not ys, **look
    )  # empty, unclipped lines break the layout


def _draw_misfits(axes: Any, path: str, line: Sequence[WhatifRow]) -> None:
    """A cross on the axis for each point where nothing fits."""
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
    values = sorted({_x(row, path) for row in result.rows})
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
    """The widest gap between neighbours, as a share of the whole: small where they are evenly
    spread.
    """
    gaps = [right - left for left, right in pairwise(values)]
    return max(gaps) / sum(gaps) if gaps else 1.0


def _scale_up(axes: Any, *, is_time: bool) -> None:
    """Draw from zero. Times that lie far apart get a logarithmic axis, on which the short ones can
    be told apart.
    """
    drawn = [float(y) for line in axes.get_lines() for y in line.get_ydata() if y > 0]
    if is_time and drawn and max(drawn) / min(drawn) >= LOG_SPAN:
        axes.set_yscale("log")
        tick_plainly(axes.yaxis, ())
    else:
        axes.set_ylim(bottom=0)


def _letter_plans(axes: Any, line: Sequence[WhatifRow], path: str) -> list[str]:
    """The letter of its policy above each point of the plan; what the letters mean."""
    letters = policy_letters(line)
    for row in (row for row in line if row.is_feasible):
        spot = _x(row, path), row.metrics["output_tokens_per_s"]
        axes.annotate(
            letters[row.policy or ""],
            spot,
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )
    return [f"{letter} = {policy}" for policy, letter in letters.items()]


def _x(row: WhatifRow, path: str) -> float:
    return float(row.values[path]) / unit(path)[0]


def lines_title(result: WhatifResult, path: str) -> str:
    """What the picture shows, and what it leaves out."""
    num_lines = len(lines_along(path, result.rows))
    left_out = f" (first {MAX_LINES} of {num_lines} lines)" if num_lines > MAX_LINES else ""
    return f"{words(path)} varies{left_out}"
