"""Predicted against measured tokens a second on logarithmic axes; each machine has a colour."""

from typing import Any

from rosin.report.figure_style import MARKERS, MUTED, SERIES, Picture, tick_plainly
from validation.accuracy import AccuracyResult, PointAccuracy

SIZE_INCHES = (9.5, 6.5)
MARGIN = 1.15
MOST_NAMED = 24
"""The most machines that the legend names: those with the most rows."""


def draw_accuracy(result: AccuracyResult, phase: str, suffix: str = ".png") -> bytes:
    """The picture of a phase in the format of that suffix."""
    title = f"{phase}: predicted against measured, with the predicted interval"
    picture = Picture(
        title=title, size_inches=SIZE_INCHES, draw=lambda figure: _draw(figure, result, phase)
    )
    return picture.render(suffix)


def _draw(figure: Any, result: AccuracyResult, phase: str) -> None:
    axes = figure.subplots()
    by_rig = _by_rig(result, phase)
    named = sorted(by_rig, key=lambda rig: -len(by_rig[rig]))[:MOST_NAMED]
    others = [rig for rig in by_rig if rig not in named]
    # Behind the named ones, so that these can be told apart.
    if others:
        points = [point for rig in others for point in by_rig[rig]]
        label = f"{len(others)} other machine{'s' if len(others) > 1 else ''}"
        _draw_points(axes, label, points, ".", MUTED)
    for index, rig in enumerate(named):
        # There are more machines than colours: every further round of colours has another marker.
        marker = MARKERS[index // len(SERIES) % len(MARKERS)]
        _draw_points(axes, rig, by_rig[rig], marker, SERIES[index % len(SERIES)])
    _frame(axes, [point for points in by_rig.values() for point in points], phase)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")


def _by_rig(result: AccuracyResult, phase: str) -> dict[str, list[PointAccuracy]]:
    found: dict[str, list[PointAccuracy]] = {}
    for row in result.rows:
        point = row.decode if phase == "decode" else row.prefill
        if point is not None:
            found.setdefault(row.rig, []).append(point)
    return found


def _draw_points(
    axes: Any, label: str, points: list[PointAccuracy], marker: str, color: str
) -> None:
    measured = [point.measured_tokens_per_s for point in points]
    predicted = [point.predicted_tokens_per_s for point in points]
    below = [point.predicted_tokens_per_s - point.low_tokens_per_s for point in points]
    above = [point.high_tokens_per_s - point.predicted_tokens_per_s for point in points]
    axes.errorbar(
        measured,
        predicted,
        yerr=(below, above),
        fmt=marker,
        color=color,
        markersize=4,
        elinewidth=0.5,
        label=label,
    )


def _frame(axes: Any, points: list[PointAccuracy], phase: str) -> None:
    speeds = [point.measured_tokens_per_s for point in points] + [
        point.predicted_tokens_per_s for point in points
    ]
    # Both axes get these ends, so that the line of equal speeds is the diagonal.
    ends = (min(speeds) / MARGIN, max(speeds) * MARGIN)
    axes.plot(ends, ends, color=MUTED, linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_xlabel(f"measured {phase} (tokens/s)")
    axes.set_ylabel(f"predicted {phase} (tokens/s), with its interval")
    for axis in (axes.xaxis, axes.yaxis):
        tick_plainly(axis, ())
    axes.grid()
