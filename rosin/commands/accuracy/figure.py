"""Predicted against measured tokens a second on logarithmic axes, a colour a machine."""

import io
from typing import Any

from validation.accuracy import AccuracyResult, PointAccuracy

SIZE_INCHES = (7.5, 6.5)
DOTS_PER_INCH = 130
MARKERS = "os^vDPX<>*hd"
MARGIN = 1.15


def draw_accuracy(result: AccuracyResult, phase: str) -> bytes:
    """The picture of a phase as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    by_rig = _by_rig(result, phase)
    for index, (rig, points) in enumerate(by_rig.items()):
        _draw_rig(axes, rig, points, index)
    _frame(axes, [point for points in by_rig.values() for point in points], phase)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def _by_rig(result: AccuracyResult, phase: str) -> dict[str, list[PointAccuracy]]:
    found: dict[str, list[PointAccuracy]] = {}
    for row in result.rows:
        point = row.decode if phase == "decode" else row.prefill
        if point is not None:
            found.setdefault(row.rig, []).append(point)
    return found


def _draw_rig(axes: Any, rig: str, points: list[PointAccuracy], index: int) -> None:
    from matplotlib import colormaps

    measured = [point.measured_tokens_per_s for point in points]
    predicted = [point.predicted_tokens_per_s for point in points]
    below = [point.predicted_tokens_per_s - point.low_tokens_per_s for point in points]
    above = [point.high_tokens_per_s - point.predicted_tokens_per_s for point in points]
    axes.errorbar(
        measured,
        predicted,
        yerr=(below, above),
        fmt=MARKERS[index % len(MARKERS)],
        color=colormaps["tab20"](index % 20),
        markersize=4,
        elinewidth=0.5,
        label=rig,
    )


def _frame(axes: Any, points: list[PointAccuracy], phase: str) -> None:
    speeds = [point.measured_tokens_per_s for point in points] + [
        point.predicted_tokens_per_s for point in points
    ]
    ends = (min(speeds) / MARGIN, max(speeds) * MARGIN)
    axes.plot(ends, ends, color="#666666", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_xlabel(f"measured {phase} (tokens/s)")
    axes.set_ylabel(f"predicted {phase} (tokens/s), with its interval")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", ncols=2)
