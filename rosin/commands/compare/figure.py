"""A comparison as a picture: how fast each policy is, and where its time goes."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwprofiles import InputError
from hwprofiles.text_file import check_target
from rosin.commands.compare.document import NOTHING, SEPARATOR
from rosin.report.json_documents import CompareResult
from rosin.report.tables import format_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
COPIES = frozenset({"h2d", "d2h"})
# The colours of Okabe and Ito, which stay apart for the colour-blind; grey for what is not work.
COLORS: Mapping[str, str] = {
    "GPU alone": "#009E73",
    "CPU alone": "#E69F00",
    "copies alone": "#0072B2",
    "several at once": "#CC79A7",
    "other": "#999999",
    "nothing": "#DDDDDD",
}
TEXT_COLORS: Mapping[str, str] = {"copies alone": "white"}
SPEED_COLOR = "#444444"
INCHES_PER_ROW = 0.38
DOTS_PER_INCH = 150
UNDATED: Mapping[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""By format, what keeps the hour out of the file."""
NARROW_FRACTION = 0.08
"""Parts of a bar narrower than this have no figure in them."""


def check_format(path: Path) -> None:
    """Raise InputError for a file name whose ending is none of the formats, and for a file that
    cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"--figure {path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    check_target(path)


def draw(result: CompareResult, suffix: str) -> bytes:
    """The picture in the format of that suffix; the same result gives the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "rosin"
    buffer = io.BytesIO()
    kind = suffix.lower().removeprefix(".")
    figure_of(result).savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=UNDATED.get(kind))
    return buffer.getvalue()


def figure_of(result: CompareResult) -> "Figure":
    """Draw the comparison as a figure of matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.9 + INCHES_PER_ROW * len(result.rows)), layout="constrained")
    speed, time = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
    _draw_speed(speed, result)
    _draw_time(time, result)
    figure.legend(loc="outside lower right", ncols=len(COLORS), frameon=False, fontsize="small")
    figure.suptitle(_title(result), fontsize="medium")
    return figure


def _title(result: CompareResult) -> str:
    setting = result.scenario.setting
    prompts = f"{setting.batch_size} prompts" if setting.batch_size > 1 else "1 prompt"
    what = f"{setting.model} ({result.scenario.quantization}) on {setting.machine}"
    return f"{what}: {prompts} of {setting.prompt_tokens} tokens, {setting.output_tokens} output tokens; simulated"


def _draw_speed(axes: Any, result: CompareResult) -> None:
    speeds = [row.metrics.output_tokens_per_s for row in result.rows]
    bars = axes.barh([row.policy for row in result.rows], speeds, color=SPEED_COLOR)
    axes.bar_label(bars, labels=[format_count(speed) for speed in speeds], padding=3)
    axes.set_xlim(0, 1.18 * max(speeds))
    axes.invert_yaxis()
    axes.set_xlabel("output, prompt time included (tokens/s)")
    axes.set_title("How fast", loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_time(axes: Any, result: CompareResult) -> None:
    groups = [_grouped(row.overlap_fractions) for row in result.rows]
    names = [row.policy for row in result.rows]
    starts = [0.0] * len(names)
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
    axes.set_title("Where the time goes", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
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
    if names <= COPIES:
        return "copies alone"
    if len(names) > 1:
        return "several at once"
    return {"gpu": "GPU alone", "cpu": "CPU alone", NOTHING: "nothing"}.get(key, "other")
