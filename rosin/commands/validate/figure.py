"""A validation as a picture: predicted against measured times, and both timelines of a step."""

from typing import Any

import numpy as np

from hwprofiles.units import MS_PER_S, NS_PER_MS
from rosin.report.checking_documents import ValidateResult
from rosin.report.figure_style import BLUE, VERMILION, Picture
from sim.engine.timeline import Timeline
from sim.engine.trace_slices import track_name

PREDICTED_COLOR = BLUE
MEASURED_COLOR = VERMILION
PLAIN_COLOR = "#999999"
LANE_HEIGHT = 0.38
SHORT_S = 0.5
"""The time in seconds below which runs are drawn in milliseconds."""
SHOWN_LAYERS = 4
"""The number of layers that are drawn of the step, from the first; more cannot be told apart."""


def draw(result: ValidateResult, predicted: Timeline, measured: Timeline, suffix: str) -> bytes:
    """The picture in the format of that suffix (.png, .svg, .pdf)."""
    picture = Picture(
        title=f"{result.model} on {result.machine}, {result.device}; {result.host}",
        size_inches=(12, max(4.5, 2.0 + 0.5 * len(result.plans))),
        draw=lambda figure: _draw(figure, result, predicted, measured),
    )
    return picture.render(suffix)


def _draw(figure: Any, result: ValidateResult, predicted: Timeline, measured: Timeline) -> None:
    plans, lanes = figure.subplots(1, 2, width_ratios=(2, 3))
    _draw_plans(plans, result)
    _draw_lanes(lanes, predicted, measured)


def _draw_plans(axes: Any, result: ValidateResult) -> None:
    """Draw a line for each plan with the measured time and two predictions."""
    places = np.arange(len(result.plans))
    measured_s = np.array([plan.measured_s for plan in result.plans])
    # Ticks of short runs in seconds are rows of zeros.
    is_short = measured_s.max() < SHORT_S
    per_s = MS_PER_S if is_short else 1
    plain = np.array([plan.plain_error_fraction for plan in result.plans])
    paired = np.array([plan.paired_error_fraction for plan in result.plans])
    for label, values_s, look in (
        ("measured", measured_s, {"color": MEASURED_COLOR, "marker": "|", "markersize": 16}),
        ("simulator alone", measured_s * (1 + plain), {"color": PLAIN_COLOR, "marker": "s"}),
        (
            "with lane costs, paired",
            measured_s * (1 + paired),
            {"color": PREDICTED_COLOR, "marker": "o"},
        ),
    ):
        axes.plot(values_s * per_s, places, linestyle="none", label=label, **look)
    axes.set_yticks(places, [plan.name for plan in result.plans])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.set_xlabel(f"the whole run ({'ms' if is_short else 's'})")
    axes.set_title("Every plan")
    _legend_under(axes)


def _legend_under(axes: Any) -> None:
    """The legend below the axis, where it covers nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _draw_lanes(axes: Any, predicted: Timeline, measured: Timeline) -> None:
    """Draw the plan's last step, with predicted above measured in every lane.

    Both timelines begin where the step begins.
    """
    tasks = predicted.tasks
    shown = np.flatnonzero(
        # Work outside layers has a layer below 0 and is not drawn.
        (tasks.step == tasks.step.max()) & (tasks.layer >= 0) & (tasks.layer < SHOWN_LAYERS)
    )
    for line, color, offset, label in (
        (predicted, PREDICTED_COLOR, 0.0, "predicted"),
        (measured, MEASURED_COLOR, LANE_HEIGHT, "measured"),
    ):
        begins_ns = line.start_ns[shown].min()
        starts_ms = (line.start_ns[shown] - begins_ns) / NS_PER_MS
        lasts_ms = (line.end_ns - line.start_ns)[shown] / NS_PER_MS
        places = tasks.resource[shown] + offset
        axes.barh(
            places,
            lasts_ms,
            left=starts_ms,
            height=LANE_HEIGHT,
            color=color,
            edgecolor="white",
            linewidth=0.4,
            label=label,
        )
    names = [track_name(resource.name) for resource in predicted.platform.resources]
    # A lane's name stands between its two bars.
    axes.set_yticks(np.arange(len(names)) + LANE_HEIGHT / 2, names)
    axes.set_ylim(len(names) - 0.2, -0.4)
    axes.set_xlabel("time from the start of the step (ms)")
    axes.set_title(f"One run of the plan: the last step's first {SHOWN_LAYERS} layers")
    _legend_under(axes)
