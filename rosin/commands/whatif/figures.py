"""The figures of a study, chosen by what varies; each is written as PNG and as SVG."""

from collections.abc import Callable, Iterator
from typing import Any

from rosin.commands.whatif.bars import MAX_BARS, draw_bars, draw_front, draw_tornado
from rosin.commands.whatif.document import WhatifResult
from rosin.commands.whatif.lines import draw_lines, lines_title
from rosin.commands.whatif.map import MAX_PANELS, draw_map, map_panels
from rosin.report.axis_words import words
from rosin.report.figure_style import Picture

SUFFIXES = (".png", ".svg")
WIDTH_INCHES = 11.0
HEIGHT_INCHES = 4.2


def whatif_figures(result: WhatifResult) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file.

    ``lines``, ``map`` or ``bars`` shows what varies, ``front`` the prices, and ``tornado`` the
    sensitivities if they were asked for. The same result gives the same bytes. No figure is drawn
    if no point is feasible.
    """
    if not any(mark.is_feasible for mark in result.rows.marks):
        return
    drawn = [_grid(result)] if result.axes else []
    if result.front:
        drawn.append(
            ("front", "price against speed", (9.5, 5.0), lambda figure: draw_front(figure, result))
        )
    if rows := result.sensitivities:
        size = (8.0, 1.6 + 0.5 * len(rows))
        drawn.append(
            (
                "tornado",
                "which number of the machine matters",
                size,
                lambda figure: draw_tornado(figure, rows),
            )
        )
    for name, title, size, draw in drawn:
        whole = f"{_what(result)}\n{title}; simulated"
        picture = Picture(title=whole, size_inches=size, draw=draw)
        for suffix in SUFFIXES:
            yield f"{name}{suffix}", picture.render(suffix)


def _grid(result: WhatifResult) -> tuple[str, str, tuple[float, float], Callable[[Any], None]]:
    """Return the figure of the axes as (name, title, size in inches, drawing function).

    Its kind depends on how many axes are numbers with more than one value.
    """
    numeric = [
        axis.path
        for axis in result.axes
        # An axis with a single value has no length to draw along.
        if len(axis.values) > 1 and not any(isinstance(value, str) for value in axis.values)
    ]
    size = WIDTH_INCHES, HEIGHT_INCHES
    if not numeric:
        count = len(result.rows)
        left_out = f" (first {MAX_BARS} of {count})" if count > MAX_BARS else ""
        return (
            "bars",
            f"points side by side{left_out}",
            (9.0, 1.8 + 0.35 * min(MAX_BARS, count)),
            lambda figure: draw_bars(figure, result),
        )
    if len(numeric) == 1:
        return (
            "lines",
            lines_title(result, numeric[0]),
            size,
            lambda figure: draw_lines(figure, result, numeric[0]),
        )
    # A map has two axes: all that varies besides gets a panel for each combination.
    x, y = numeric[:2]
    count = len(map_panels(result, x, y))
    left_out = (
        f" (first {MAX_PANELS} of {count} combinations of the rest)" if count > MAX_PANELS else ""
    )
    width = 4.0 + 3.6 * min(MAX_PANELS, count)
    return (
        "map",
        f"{words(x)} by {words(y)}{left_out}",
        (width, 5.4),
        lambda figure: draw_map(figure, result, x, y),
    )


def _what(result: WhatifResult) -> str:
    """Return the base of the study in words, without the values that vary."""
    setting = result.setting
    varied = {axis.path for axis in result.axes}
    model = f"{setting.model} ({_quantization(result)})"
    place = [
        text
        for name, text in (("model", model), ("machine", setting.machine))
        if name not in varied
    ]
    counts = [
        ("batch", setting.batch_size, "prompts" if setting.batch_size > 1 else "prompt"),
        ("prompt_tokens", setting.prompt_tokens, "prompt tokens"),
        ("output_tokens", setting.output_tokens, "output tokens"),
    ]
    work = ", ".join(f"{count:,} {name}" for path, count, name in counts if path not in varied)
    return ": ".join(part for part in (" on ".join(place), work) if part)


def _quantization(result: WhatifResult) -> str:
    """Return the format in which the base stores its weights."""
    from sim.model.library import load_model

    setting = result.setting
    if "quantization" in {axis.path for axis in result.axes}:
        return "quantisation varies"
    return load_model(setting.model, setting.quantization).quantization
