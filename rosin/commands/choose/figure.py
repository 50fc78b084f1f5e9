"""A choice as a picture: how fast each way decodes and reads the prompt, with its range."""

from collections.abc import Sequence
from typing import Any

from planner.choice import SpeedInterval
from rosin.commands.choose.document import ChooseResult
from rosin.report.figure_style import GREEN, INK, Picture
from rosin.report.tables import format_count

OTHER_COLOR = "#999999"
INCHES_PER_WAY = 0.42
RANGE_CAPS = 3.0
"""The width of the caps at the ends of a range, in points."""


def draw(result: ChooseResult, suffix: str) -> bytes:
    """The picture in the format of that suffix; the same result gives the same bytes."""
    title = (
        f"{result.model} {result.quantization} on {result.machine}: {result.prompt_tokens:,} tokens "
        f"of prompt, {result.output_tokens:,} of answer; predicted, the best way green"
    )
    return Picture(
        title=title,
        size_inches=(11, 1.6 + INCHES_PER_WAY * len(result.arms)),
        draw=lambda figure: _draw(figure, result),
    ).render(suffix)


def _draw(figure: Any, result: ChooseResult) -> None:
    decode, prompt = figure.subplots(1, 2, sharey=True)
    names = [own.arm for own in result.arms]
    _draw_speeds(decode, names, [own.decode for own in result.arms])
    _draw_speeds(prompt, names, [own.prefill for own in result.arms])
    share = result.arms[0].decode.coverage_fraction
    decode.set_title(f"Decode, with the range for {share:.0%} of machines")
    prompt.set_title("Prompt")
    # Both halves share the names, which stand at the left of the first.
    prompt.tick_params(axis="y", labelleft=False, length=0)


def _draw_speeds(axes: Any, names: Sequence[str], speeds: Sequence[SpeedInterval]) -> None:
    middles = [speed.tokens_per_s for speed in speeds]
    below = [speed.tokens_per_s - speed.low_tokens_per_s for speed in speeds]
    above = [speed.high_tokens_per_s - speed.tokens_per_s for speed in speeds]
    # The best way stands first.
    colors = [GREEN] + [OTHER_COLOR] * (len(names) - 1)
    axes.barh(names, middles, color=colors, xerr=(below, above), ecolor=INK, capsize=RANGE_CAPS)
    for place, speed in enumerate(speeds):
        axes.annotate(
            format_count(speed.tokens_per_s),
            (speed.high_tokens_per_s, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    axes.set_xlim(0, 1.15 * max(speed.high_tokens_per_s for speed in speeds))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("tokens/s")
