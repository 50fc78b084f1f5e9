"""Plot simulated against published figures, one panel for each unit with enough cells, in
log-log.
"""

import io
import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from validation.published.reproduction import Cell, Reproduction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MANY_DECADES = 1000
"""Ratio of an axis's ends from which powers of ten give enough ticks."""

# The colours of Okabe and Ito, which stay apart for the colour-blind (jfly.uni-koeln.de/color).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = "osD^vP"
"""Markers of systems. Once the colours are used up, they repeat with the next marker."""
PANEL_INCHES = 4.6
ROW_INCHES = 0.16
"""Height of a row of a legend, in inches."""
CHARACTER_INCHES = 0.06
KEY_INCHES = 0.6
"""Width of an entry of a legend without its words: the mark, and the gap to the next entry."""

BAND_FRACTION = 0.2
"""Half-width of the shaded band around equality."""

MIN_PANEL_CELLS = 10
"""Fewest cells of a unit for a panel.

Units with fewer cells (counts, ratios) are for the tables; a few points say nothing in a scatter
plot.
"""


def figure_png(reproduction: Reproduction) -> bytes:
    """Return ``figure_of`` as a PNG."""
    out = io.BytesIO()
    figure_of(reproduction).savefig(out, format="png", dpi=150)
    return out.getvalue()


def figure_of(reproduction: Reproduction) -> "Figure":
    """Return the figure: a point for each cell, and the diagonal with a band of 20 %.

    Points are coloured by system, and hollow if the cell is not scored.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # imported here: it takes longer than the simulations

    panels = _by_unit(reproduction)
    legend_inches = max((_legend_rows(cells) for cells in panels.values()), default=0) * ROW_INCHES
    size = (PANEL_INCHES * max(1, len(panels)), 4.0 + legend_inches)
    figure = Figure(figsize=size, layout="constrained")
    # This canvas draws without a display.
    FigureCanvasAgg(figure)
    # Each panel is a figure of its own, so that its legend has room under its axis.
    parts = figure.subfigures(1, max(1, len(panels)), squeeze=False)[0]
    for part, (unit, cells) in zip(parts, panels.items(), strict=False):
        _draw_panel(part, unit, cells)
    title = f"{reproduction.title}\nsimulated against published"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def _by_unit(reproduction: Reproduction) -> dict[str, list[Cell]]:
    panels: dict[str, list[Cell]] = {}
    for table in reproduction.tables:
        for cell in (
            table.cells if any(cell.is_scored for cell in table.cells) else ()
        ):  # else they are another table's, again
            panels.setdefault(cell.unit, []).append(cell)
    crowded = {unit: cells for unit, cells in panels.items() if len(cells) >= MIN_PANEL_CELLS}
    return crowded or panels


def _series(cells: list[Cell]) -> dict[tuple[str, bool], list[Cell]]:
    """Return the cells of each system, scored cells apart from others."""
    found: dict[tuple[str, bool], list[Cell]] = {}
    for system in dict.fromkeys(_system(cell) for cell in cells):
        for is_scored in (True, False):
            own = [cell for cell in cells if (_system(cell), cell.is_scored) == (system, is_scored)]
            if own:
                found[system, is_scored] = own
    return found


def _system(cell: Cell) -> str:
    return f"{cell.system}, {cell.environment}"


def _legend_columns(labels: Collection[str]) -> int:
    """Return the number of columns: two if the words leave room for them, else one."""
    widest = KEY_INCHES + CHARACTER_INCHES * max(map(len, labels), default=0)
    return 2 if 2 * widest <= PANEL_INCHES else 1


def _legend_rows(cells: list[Cell]) -> int:
    labels = [_label(*name) for name in _series(cells)]
    return math.ceil((len(labels) + 1) / _legend_columns(labels))


def _label(system: str, is_scored: bool) -> str:
    return system if is_scored else f"{system} (not scored)"


def _draw_panel(part: "SubFigure", unit: str, cells: list[Cell]) -> None:
    axes = part.subplots()
    values = [value for cell in cells for value in (cell.published, cell.simulated)]
    ends = (min(values) / 1.5, max(values) * 1.5)
    axes.fill_between(
        ends,
        [end * (1 - BAND_FRACTION) for end in ends],
        [end * (1 + BAND_FRACTION) for end in ends],
        color="0.9",
        label="±20 %",
    )
    axes.plot(ends, ends, color="0.5", linewidth=1)
    systems = list(dict.fromkeys(_system(cell) for cell in cells))
    for (system, is_scored), own in _series(cells).items():
        number = systems.index(system)
        color = COLORS[number % len(COLORS)]
        axes.scatter(
            [cell.published for cell in own],
            [cell.simulated for cell in own],
            s=22,
            marker=MARKERS[number // len(COLORS) % len(MARKERS)],
            facecolors=color if is_scored else "none",
            edgecolors=color,
            label=_label(system, is_scored),
            zorder=3,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=ends,
        ylim=ends,
        xlabel=f"published ({unit})",
        ylabel=f"simulated ({unit})",
    )
    # Powers of ten alone leave such an axis with hardly a number.
    if ends[1] < MANY_DECADES * ends[0]:
        _label_plainly(axes)
    columns = _legend_columns([_label(*name) for name in _series(cells)])
    part.legend(fontsize=7, loc="outside lower center", ncols=columns)


def _label_plainly(axes: "Axes") -> None:
    """Set ticks at 1, 2 and 5 times powers of ten, written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
