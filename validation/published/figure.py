"""Simulated against published, one panel a unit with cells enough, both axes logarithmic."""

import io
from typing import TYPE_CHECKING

from validation.published.reproduction import Cell, Reproduction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_DECADES = 1000
"""Axes that end that many times above their start have ticks enough at powers of ten."""

BAND_FRACTION = 0.2
"""Half-width of the shaded band around equality."""

MIN_PANEL_CELLS = 10
"""Units with fewer cells (counts, ratios) are for the tables; points on their own say nothing in a
scatter plot.
"""


def figure_png(reproduction: Reproduction) -> bytes:
    """A PNG: every cell a point, coloured by system; hollow where it is not scored; the diagonal
    with a band of 20 %.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # imported here: it takes longer than the simulations

    panels = _by_unit(reproduction)
    figure = Figure(figsize=(4.6 * len(panels), 4.8), layout="constrained")
    # This canvas draws without a display.
    FigureCanvasAgg(figure)
    for position, (unit, cells) in enumerate(panels.items(), start=1):
        _draw_panel(figure.add_subplot(1, len(panels), position), unit, cells)
    figure.suptitle(f"{reproduction.title}\nsimulated against published", fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150)
    return out.getvalue()


def _by_unit(reproduction: Reproduction) -> dict[str, list[Cell]]:
    panels: dict[str, list[Cell]] = {}
    for table in reproduction.tables:
        for cell in (
            table.cells if any(cell.is_scored for cell in table.cells) else ()
        ):  # else they are another table's, again
            panels.setdefault(cell.unit, []).append(cell)
    crowded = {unit: cells for unit, cells in panels.items() if len(cells) >= MIN_PANEL_CELLS}
    return crowded or panels


def _draw_panel(axes: "Axes", unit: str, cells: list[Cell]) -> None:
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
    systems = list(dict.fromkeys(f"{cell.system}, {cell.environment}" for cell in cells))
    for number, system in enumerate(systems):
        for is_scored in (True, False):
            chosen = [
                cell
                for cell in cells
                if f"{cell.system}, {cell.environment}" == system and cell.is_scored is is_scored
            ]
            if chosen:
                face = f"C{number}" if is_scored else "none"
                label = system if is_scored else f"{system} (not scored)"
                x = [cell.published for cell in chosen]
                y = [cell.simulated for cell in chosen]
                axes.scatter(
                    x, y, s=22, facecolors=face, edgecolors=f"C{number}", label=label, zorder=3
                )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=ends,
        ylim=ends,
        xlabel=f"published [{unit}]",
        ylabel=f"simulated [{unit}]",
    )
    # Powers of ten alone leave such an axis with hardly a number.
    if ends[1] < MANY_DECADES * ends[0]:
        _label_plainly(axes)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def _label_plainly(axes: "Axes") -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
