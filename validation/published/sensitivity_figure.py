"""Plot how a publication's figures depend on a knob that it leaves open.

Each figure and knob has one panel.
"""

import io
from typing import TYPE_CHECKING

from validation.published.figure import COLORS, MARKERS
from validation.published.reproduction import Panel, Reproduction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_COLUMNS = 2


def sensitivity_png(reproduction: Reproduction) -> bytes:
    """Return a PNG with a line for each system, and a dashed line at its published figure.

    The knob's values are set at even distances.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # imported here: it takes longer than a simulation

    num_rows = -(-len(reproduction.panels) // NUM_COLUMNS)
    figure = Figure(figsize=(4.8 * NUM_COLUMNS, 3.8 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    for position, panel in enumerate(reproduction.panels, start=1):
        _draw_panel(figure.add_subplot(num_rows, NUM_COLUMNS, position), panel)
    handles, labels = figure.axes[0].get_legend_handles_labels()  # the same systems in every panel
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    title = f"{reproduction.title}: simulated (lines) and published (dashed)"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150)
    return out.getvalue()


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    for number, curve in enumerate(panel.curves):
        # Values of a knob may lie at 6, 12, 24 and 96, which a linear axis would crowd.
        places = range(len(curve.x))
        color = COLORS[number % len(COLORS)]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(places, curve.y, color=color, marker=marker, markersize=4, label=curve.label)
        axes.axhline(curve.published, color=color, linestyle="--", linewidth=1)
        axes.set_xticks(places, [f"{value:g}" for value in curve.x])
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
