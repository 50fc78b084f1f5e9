"""The figure of two numbers that vary: a map of the best plan's speed and policy.

Lines mark the borders between policies.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from hwprofiles.units import MS_PER_S, format_bytes
from rosin.commands.whatif.document import WhatifResult
from rosin.commands.whatif.rows import PointMark
from rosin.report.axis_words import at_words, axis_label, tick_labels
from rosin.report.figure_style import MISFIT, VERMILION
from rosin.report.tables import format_count

FIGURES = {
    "throughput": ("output_tokens_per_s", 1.0, "output of the best plan (tokens/s)"),
    "latency": ("end_to_end_s", 1.0, "end-to-end time of the best plan (s)"),
    "ttft": ("ttft_s", 1.0, "time to first token of the best plan (s)"),
    "tpot": ("tpot_s", MS_PER_S, "time per further token of the best plan (ms)"),
}
MAX_PANELS = 4
MAX_LABELLED = 12
"""The most cells along a side for which each cell shows its figure and its policy."""


def map_panels(result: WhatifResult, x: str, y: str) -> list[list[PointMark]]:
    """Return the points in groups that differ only in the values of paths ``x`` and ``y``."""
    groups: dict[tuple[object, ...], list[PointMark]] = {}
    for row in result.rows.marks:
        groups.setdefault(
            tuple(value for name, value in row.values.items() if name not in (x, y)), []
        ).append(row)
    return list(groups.values())


def draw_map(figure: Any, result: WhatifResult, x: str, y: str) -> None:
    """Draw a panel for each combination of the other axes, at most MAX_PANELS.

    All panels share one colour scale.
    """
    panels = map_panels(result, x, y)[:MAX_PANELS]
    _, factor, label = FIGURES[result.objective]
    drawn = [row.figure for rows in panels for row in rows]
    shown = [figure * factor for figure in drawn if figure is not None]
    limits = (min(shown), max(shown)) if shown else (0.0, 1.0)
    # Without squeeze=False, a single panel would come back without a list around it.
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    letters = policy_letters(row for rows in panels for row in rows)
    image = None
    for axes, rows in zip(places, panels, strict=True):
        image = _draw_panel(axes, rows, (x, y), (factor, limits), letters)
        others = {path: value for path, value in rows[0].values.items() if path not in (x, y)}
        axes.set_title(at_words(others), fontsize="small", loc="left")
    figure.colorbar(image, ax=list(places), label=label, pad=0.02)
    legend = "    ".join(f"{letter}: {policy}" for policy, letter in letters.items())
    figure.supxlabel(f"{legend}\nheavy lines: the best policy changes", fontsize="small")


def policy_letters(rows: Iterable[PointMark]) -> dict[str, str]:
    """A letter for each best policy, in order of appearance."""
    policies = dict.fromkeys(row.policy for row in rows if row.policy)
    return {policy: _letter(index) for index, policy in enumerate(policies)}


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"A{_letter(index - 26)}"


def _draw_panel(
    axes: Any,
    rows: Sequence[PointMark],
    paths: tuple[str, str],
    scale: tuple[float, tuple[float, float]],
    letters: dict[str, str],
) -> Any:
    factor, (low, high) = scale
    xs, ys = (sorted({row.values[path] for row in rows}, key=float) for path in paths)
    cells = {(xs.index(row.values[paths[0]]), ys.index(row.values[paths[1]])): row for row in rows}
    values = [[_figure(cells[i, j], factor) for i in range(len(xs))] for j in range(len(ys))]
    # cividis looks nearly the same to the colour-blind (Nuñez, Anderson and Renslow, 2018).
    image = axes.imshow(values, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high)
    axes.set_facecolor(MISFIT)
    axes.set_xticks(range(len(xs)), tick_labels(paths[0], xs))
    axes.set_yticks(range(len(ys)), tick_labels(paths[1], ys))
    axes.set_xlabel(axis_label(paths[0]))
    axes.set_ylabel(axis_label(paths[1]))
    _draw_borders(axes, cells)
    if max(len(xs), len(ys)) <= MAX_LABELLED:
        _write_cells(axes, cells, scale, letters)
    return image


def _figure(row: PointMark, factor: float) -> float:
    # What is not a number stays blank, so the colour of misfits behind it shows.
    return row.figure * factor if row.figure is not None else float("nan")


def _draw_borders(axes: Any, cells: dict[tuple[int, int], PointMark]) -> None:
    """Draw a heavy line between neighbouring cells whose policies differ."""
    for (i, j), row in cells.items():
        right = (i + 1, j), (i + 0.5, i + 0.5), (j - 0.5, j + 0.5)
        above = (i, j + 1), (i - 0.5, i + 0.5), (j + 0.5, j + 0.5)
        for neighbour, xs, ys in (right, above):
            if neighbour in cells and cells[neighbour].policy != row.policy:
                # A wider white line below keeps the border visible on every colour.
                axes.plot(xs, ys, color="white", linewidth=4.5, solid_capstyle="butt")
                axes.plot(xs, ys, color=VERMILION, linewidth=2.2, solid_capstyle="butt")


def _write_cells(
    axes: Any,
    cells: dict[tuple[int, int], PointMark],
    scale: tuple[float, tuple[float, float]],
    letters: dict[str, str],
) -> None:
    factor, (low, high) = scale
    for (i, j), row in cells.items():
        if row.figure is None:
            text = f"does not fit\n{format_bytes(row.missing_bytes or 0)} short"
            color = "black"
        else:
            value = row.figure * factor
            text = f"{format_count(value)}\n{letters[row.policy or '']}"
            color = (
                "white" if value < low + 0.55 * (high - low) else "black"
            )  # cividis is dark in its lower half
        axes.text(i, j, text, ha="center", va="center", fontsize="small", color=color)
