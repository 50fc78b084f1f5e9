"""One style for every figure: colours, type, axes and legends.

The same result always gives the same file.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwprofiles import InputError
from hwprofiles.text_file import check_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 150

INK = "#222222"
MUTED = "#666666"
GRID = "#DDDDDD"
MISFIT = "#E6E6E6"
# The colours of Okabe and Ito, which stay apart for the colour-blind (jfly.uni-koeln.de/color).
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
PINK = "#CC79A7"
SKY = "#56B4E9"
VERMILION = "#D55E00"
SERIES = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION)
MARKERS = "osD^vP"
"""The markers of lines; marker and colour both tell a line from others."""

TOP_SHARE = 1.06
"""The least end of an axis from 0, as a multiple of its highest value."""
MAX_TICKS = 8
"""The most values for which each has a tick of its own."""
MAX_LEGEND_CHARACTERS = 110
"""The most characters in a row of a legend, for a figure that is ten inches wide."""

_STYLE: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.formatter.useoffset": False,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": "small",
    "legend.frameon": False,
    "lines.markersize": 5.0,
    # Identifiers in an SVG file come from this word, not from chance.
    "svg.hashsalt": "rosin",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}
_UNDATED: Mapping[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata that keeps the date out of a file, by format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure to draw: its title, its size, and what draws into it."""

    title: str
    size_inches: tuple[float, float]
    draw: Callable[[Any], None]

    def figure(self) -> "Figure":
        """The picture as a figure of matplotlib."""
        from matplotlib.figure import Figure

        with house_style():
            figure = Figure(figsize=self.size_inches, layout="constrained")
            self.draw(figure)
            figure.suptitle(self.title, fontsize="medium", x=0.01, ha="left")
        return figure

    def render(self, suffix: str) -> bytes:
        """The picture in the format of that suffix; the same picture gives the same bytes."""
        buffer = io.BytesIO()
        kind = suffix.lower().removeprefix(".")
        figure = self.figure()
        # Saving a figure reads the style once more, among others the salt of identifiers.
        with house_style():
            figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=_UNDATED.get(kind))
        return buffer.getvalue()


@contextmanager
def house_style() -> Iterator[None]:
    """Give all figures drawn inside the ``with`` block the same style."""
    import matplotlib

    # This backend needs no screen; a server has none.
    matplotlib.use("Agg")
    # Figures start from matplotlib's defaults: a user's own style file would change them.
    style: Any = {
        key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"
    }
    style.update(_STYLE)
    with matplotlib.rc_context(style):
        yield


def check_figure(path: Path) -> None:
    """Raise InputError for an unknown ending, or a file that cannot be written."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"--figure {path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    check_target(path)


def begin_at_zero(axes: Any) -> None:
    """Let the y axis begin at 0 and leave room above the highest mark.

    Matplotlib leaves a share of the span of the marks. If all marks are equal, the span is 0, and
    the axis would cut the marks in two.
    """
    axes.set_ylim(0, max(axes.get_ylim()[1], TOP_SHARE * axes.dataLim.y1))


def legend_below(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Draw a legend under all axes, with as many columns as its words leave room for."""
    if not labels:
        return
    room = MAX_LEGEND_CHARACTERS * figure.get_figwidth() / 10
    # An entry also has a piece of its line and a gap, as wide as about six characters.
    widest = max(len(label) for label in labels) + 6
    columns = max(1, min(len(labels), int(room // widest)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def tick_plainly(axis: Any, values: Sequence[float]) -> None:
    """Label a logarithmic axis with plain numbers.

    Ticks stand at ``values`` if there are two to MAX_TICKS of them, or else at 1, 2, 5, 10 and so
    on.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

    from rosin.report.axis_words import format_tick

    wanted = sorted(set(values))
    is_few = 1 < len(wanted) <= MAX_TICKS
    axis.set_major_locator(FixedLocator(wanted) if is_few else LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda value, _: format_tick(value))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
