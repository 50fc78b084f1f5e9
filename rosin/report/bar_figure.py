"""A figure with a bar for each thing that was tried, the best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rosin.report.figure_style import GREEN, Picture

OTHER_COLOR = "#444444"
INCHES_PER_BAR = 0.34


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBar:
    """One bar: its name, its length, the words behind it, and whether it is the chosen one."""

    name: str
    value: float
    words: str
    is_chosen: bool = False


def bar_picture(title: str, axis: str, bars: Sequence[NamedBar]) -> Picture:
    """Return the picture, with the bars from top to bottom; the chosen bar is green."""

    def draw(figure: Any) -> None:
        """Draw the bars with their words behind them."""
        axes = figure.subplots()
        places = range(len(bars))
        colors = [GREEN if bar.is_chosen else OTHER_COLOR for bar in bars]
        drawn = axes.barh(places, [bar.value for bar in bars], color=colors)
        axes.bar_label(drawn, labels=[bar.words for bar in bars], padding=4, fontsize="small")
        axes.set_yticks(places, [bar.name for bar in bars])
        axes.set_ylim(len(bars) - 0.5, -0.5)
        # The longest bar leaves a fifth of the width for its words.
        axes.set_xlim(0, 1.25 * max(bar.value for bar in bars))
        axes.set_xlabel(axis)

    return Picture(title=title, size_inches=(9.0, 1.4 + INCHES_PER_BAR * len(bars)), draw=draw)
