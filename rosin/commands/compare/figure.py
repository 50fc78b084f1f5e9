"""A comparison as a picture: how fast each policy is, and where its time goes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rosin.commands.compare.document import NOTHING, SEPARATOR
from rosin.commands.compare.marks import MARK_WORDS, row_mark
from rosin.report.figure_style import BLUE, GREEN, GRID, ORANGE, PINK, Picture, legend_below
from rosin.report.json_documents import CompareResult
from rosin.report.tables import format_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COPIES = frozenset({"h2d", "d2h"})
COLORS: Mapping[str, str] = {
    "GPU alone": GREEN,
    "CPU alone": ORANGE,
    "copies alone": BLUE,
    "several at once": PINK,
    "other": "#999999",
    "nothing": GRID,
}
# Black figures are hard to read on this blue.
TEXT_COLORS: Mapping[str, str] = {"copies alone": "white"}
SPEED_COLOR = "#444444"
INCHES_PER_ROW = 0.38
NARROW_FRACTION = 0.08
"""The share of a bar below which a part has no number in it."""


def draw(result: CompareResult, suffix: str) -> bytes:
    """The picture in the format of that suffix; the same result gives the same bytes."""
    return _picture(result).render(suffix)


def figure_of(result: CompareResult) -> "Figure":
    """Draw the comparison as a figure of matplotlib."""
    return _picture(result).figure()


def _picture(result: CompareResult) -> Picture:
    return Picture(
        title=_title(result),
        size_inches=(11, 2.2 + INCHES_PER_ROW * len(result.rows)),
        draw=lambda figure: _draw(figure, result),
    )


def _draw(figure: Any, result: CompareResult) -> None:
    speed, time = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    _draw_speed(speed, result)
    _draw_time(time, result)
    legend_below(figure, *time.get_legend_handles_labels())


def _title(result: CompareResult) -> str:
    setting = result.scenario.setting
    prompts = f"{setting.batch_size} prompts" if setting.batch_size > 1 else "1 prompt"
    what = f"{setting.model} ({result.scenario.quantization}) on {setting.machine}"
    return f"{what}: {prompts} of {setting.prompt_tokens} tokens, {setting.output_tokens} output tokens; simulated{_marks_meaning(result)}"


def _marks_meaning(result: CompareResult) -> str:
    """Return the meaning of the marks behind names; empty without marks."""
    meanings = [
        words
        for mark, words in MARK_WORDS.items()
        if any(mark in row_mark(row) for row in result.rows)
    ]
    return "".join(f"\n{words}" for words in meanings)


def _names(result: CompareResult) -> list[str]:
    return [f"{row.policy}{row_mark(row)}" for row in result.rows]


def _draw_speed(axes: Any, result: CompareResult) -> None:
    speeds = [row.metrics.output_tokens_per_s for row in result.rows]
    bars = axes.barh(_names(result), speeds, color=SPEED_COLOR)
    axes.bar_label(bars, labels=[format_count(speed) for speed in speeds], padding=3)
    axes.set_xlim(0, 1.18 * max(speeds))
    axes.set_ylim(len(result.rows) - 0.5, -0.5)
    axes.set_xlabel("output, prompt time included (tokens/s)")
    axes.set_title("How fast")


def _draw_time(axes: Any, result: CompareResult) -> None:
    groups = [_grouped(row.overlap_fractions) for row in result.rows]
    names = _names(result)
    starts = [0.0] * len(names)
    # Labels that occur in no bar stay out of the legend, too.
    for label in (label for label in COLORS if any(group[label] > 0 for group in groups)):
        percents = [100 * group[label] for group in groups]
        bars = axes.barh(names, percents, left=starts, color=COLORS[label], label=label)
        axes.bar_label(
            bars,
            labels=_labels(percents),
            label_type="center",
            fontsize="small",
            color=TEXT_COLORS.get(label, "black"),
        )
        starts = [start + percent for start, percent in zip(starts, percents, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the run (%), by what was busy")
    axes.set_title("Where the time goes")
    # Both halves share the names, which stand at the left of the first.
    axes.tick_params(axis="y", labelleft=False, length=0)


def _labels(percents: Sequence[float]) -> list[str]:
    return [f"{percent:.0f}" if percent >= 100 * NARROW_FRACTION else "" for percent in percents]


def _grouped(fractions: Mapping[str, float]) -> dict[str, float]:
    """The shares by the labels of the picture; both directions of the link count as one."""
    totals = dict.fromkeys(COLORS, 0.0)
    for key, share in fractions.items():
        totals[_label(key)] += share
    return totals


def _label(key: str) -> str:
    names = frozenset(key.split(SEPARATOR))
    # Copies in both directions at once are still nothing but copies.
    if names <= COPIES:
        return "copies alone"
    if len(names) > 1:
        return "several at once"
    return {"gpu": "GPU alone", "cpu": "CPU alone", NOTHING: "nothing"}.get(key, "other")
