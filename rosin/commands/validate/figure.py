"""A validation as a picture: what was predicted against what was measured, and the two timelines of
one decode step.
"""

import io
from typing import Any

import numpy as np

from hwprofiles.units import NS_PER_S
from rosin.commands.compare.figure import DOTS_PER_INCH, UNDATED
from rosin.report.json_documents import ValidateResult
from sim.engine.timeline import Timeline

NS_PER_MS = NS_PER_S // 1000
PREDICTED_COLOR, MEASURED_COLOR, PLAIN_COLOR = "#0072B2", "#D55E00", "#999999"
LANE_HEIGHT = 0.38
SHOWN_LAYERS = 4
"""Of the step that is drawn, the first layers: more cannot be told apart."""


def draw(result: ValidateResult, predicted: Timeline, measured: Timeline, suffix: str) -> bytes:
    """The picture in the format of that suffix (.png, .svg, .pdf)."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "rosin"
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    plans, lanes = figure.subplots(1, 2, width_ratios=(2, 3))
    _draw_plans(plans, result)
    _draw_lanes(lanes, predicted, measured)
    figure.suptitle(
        f"{result.model} on {result.machine}, {result.device}; {result.host}", fontsize="medium"
    )
    buffer = io.BytesIO()
    kind = suffix.lower().removeprefix(".")
    figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=UNDATED.get(kind))
    return buffer.getvalue()


def _draw_plans(axes: Any, result: ValidateResult) -> None:
    measured_s = np.array([plan.measured_s for plan in result.plans])
    for label, color, errors in (
        ("simulator alone", PLAIN_COLOR, [plan.plain_error_fraction for plan in result.plans]),
        (
            "with lane costs, paired",
            PREDICTED_COLOR,
            [plan.paired_error_fraction for plan in result.plans],
        ),
    ):
        axes.scatter(measured_s, measured_s * (1 + np.array(errors)), color=color, label=label)
    ends = np.array([0.0, 1.08 * measured_s.max()])
    axes.plot(ends, ends, color="black", linewidth=0.7)
    for plan in result.plans:
        axes.annotate(
            plan.name,
            (plan.measured_s, plan.measured_s),
            xytext=(4, -12),
            textcoords="offset points",
            fontsize="small",
        )
    axes.set_xlabel("measured (s)")
    axes.set_ylabel("predicted (s)")
    axes.set_title("Every plan", loc="left")
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_lanes(axes: Any, predicted: Timeline, measured: Timeline) -> None:
    """The last step of the plan, predicted above measured in every lane, both from where the step
    begins.
    """
    tasks = predicted.tasks
    shown = np.flatnonzero(
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
    names = [resource.name for resource in predicted.platform.resources]
    axes.set_yticks(np.arange(len(names)) + LANE_HEIGHT / 2, names)
    axes.invert_yaxis()
    axes.set_xlabel("time from the start of the step (ms)")
    axes.set_title(f"One run of the plan: the last step's first {SHOWN_LAYERS} layers", loc="left")
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
