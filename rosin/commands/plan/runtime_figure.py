"""A plan for a runtime beside other ways to start the runtime, as a picture."""

from collections.abc import Sequence
from typing import Any

from rosin.commands.plan.runtime_document import RuntimePlanResult, RuntimeRivalRow
from rosin.commands.simulate.runtime_document import SpeedRange
from rosin.commands.simulate.runtime_page import coverage_words
from rosin.report.bar_figure import INCHES_PER_BAR, OTHER_COLOR
from rosin.report.figure_style import GREEN, INK, Picture
from rosin.report.tables import format_count

ROOM_FOR_WORDS = 1.45
"""The width of the axes, as a multiple of the longest bar; a number stands behind each bar."""


def draw_runtime_plan(result: RuntimePlanResult, suffix: str) -> bytes:
    """Draw both speeds of the plan and of every other way to start the runtime, in the format of
    that suffix; the same result gives the same bytes.
    """
    return _picture(result).render(suffix)


def _picture(result: RuntimePlanResult) -> Picture:
    rivals = _rivals(result)
    return Picture(
        title=_title(result),
        size_inches=(10.0, 2.1 + INCHES_PER_BAR * (1 + len(rivals))),
        draw=lambda figure: _draw(figure, result, rivals),
    )


def _rivals(result: RuntimePlanResult) -> list[RuntimeRivalRow]:
    """Return all ways that run, the user's own arguments included, the fastest first."""
    rows = [row for row in (*result.rivals, result.against) if row is not None]
    return sorted(
        (row for row in rows if row.speed_fraction is not None),
        key=lambda row: -(row.speed_fraction or 0),
    )


def _title(result: RuntimePlanResult) -> str:
    return (
        f"{result.model} {result.quantization} with {result.runtime} on {result.machine}\n"
        f"{result.prompt_tokens:,} prompt tokens, {result.output_tokens:,} answered; predicted, not "
        f"measured\n"
        f"{coverage_words(result.predicted.decode)}"
    )


def _draw(figure: Any, result: RuntimePlanResult, rivals: Sequence[RuntimeRivalRow]) -> None:
    decode, prefill = figure.subplots(1, 2, sharey=True)
    predicted = result.predicted
    _draw_speeds(decode, predicted.decode, [row.decode_tokens_per_s for row in rivals])
    _draw_speeds(prefill, predicted.prefill, [row.prefill_tokens_per_s for row in rivals])
    decode.set_xlabel("decode (tokens/s)")
    prefill.set_xlabel("prefill (tokens/s)")
    names = ["this plan", *(row.name for row in rivals)]
    decode.set_yticks(range(len(names)), names)
    # An axis that runs downwards has the plan on top.
    decode.set_ylim(len(names) - 0.5, -0.5)


def _draw_speeds(axes: Any, plan: SpeedRange, rivals: Sequence[float | None]) -> None:
    """Draw a bar for each row, and the range of the prediction on the plan's bar."""
    speeds = [plan.tokens_per_s, *(speed or 0 for speed in rivals)]
    words = [format_count(speed) for speed in speeds]
    colors = [GREEN, *[OTHER_COLOR] * len(rivals)]
    drawn = axes.barh(range(len(speeds)), speeds, color=colors)
    axes.bar_label(drawn, labels=["", *words[1:]], padding=4, fontsize="small")
    axes.plot([plan.low_tokens_per_s, plan.high_tokens_per_s], [0, 0], color=INK, linewidth=1.2)
    # The plan's number stands behind its range, where neither bar nor line covers it.
    axes.annotate(
        f"{words[0]} ({format_count(plan.low_tokens_per_s)}–{format_count(plan.high_tokens_per_s)})",
        (max(plan.high_tokens_per_s, plan.tokens_per_s), 0),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
    )
    axes.set_xlim(0, ROOM_FOR_WORDS * max(plan.high_tokens_per_s, *speeds))
