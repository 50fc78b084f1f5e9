"""Figures of price against speed, of sensitivities (a tornado), and of points as bars."""

from collections.abc import Sequence
from typing import Any

from rosin.commands.whatif.document import Sensitivity, WhatifResult
from rosin.commands.whatif.map import FIGURES
from rosin.commands.whatif.rows import PointMark, WhatifRow
from rosin.report.axis_words import format_tick, short, words
from rosin.report.figure_style import BLUE, ORANGE, begin_at_zero, legend_below
from rosin.report.tables import format_count, format_quantity

LOW_COLOR = ORANGE
HIGH_COLOR = BLUE
POINT_COLOR = "#999999"
FRONT_COLOR = BLUE
MAX_BARS = 40
MAX_KEYS = 24


def draw_front(figure: Any, result: WhatifResult) -> None:
    """Draw every priced point, and the front of points that nothing beats for the same money."""
    axes = figure.subplots()
    _, factor, label = FIGURES[result.objective]
    marks = result.rows.marks
    priced = [
        (mark.price_usd, mark.figure * factor)
        for mark in marks
        if mark.figure is not None and mark.price_usd is not None
    ]
    axes.scatter(
        [price for price, _ in priced],
        [figure for _, figure in priced],
        color=POINT_COLOR,
        label="other points",
    )
    best = [marks[place] for place in result.front]
    front = [(mark.price_usd or 0.0, (mark.figure or 0.0) * factor, mark) for mark in best]
    axes.step(
        [x for x, _, _ in front],
        [y for _, y, _ in front],
        # A sum of money buys the last point that it reaches, so the line is level up to the next.
        where="post",
        color=FRONT_COLOR,
        marker="o",
        label="nothing is faster for the money",
    )
    keys = _number_front(axes, front)
    figure.legend(
        *keys,
        loc="outside right upper",
        title="cheapest first",
        handlelength=0,
    )
    axes.set_xlabel("price (USD)")
    axes.set_ylabel(label)
    begin_at_zero(axes)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(lambda value, _: format_tick(value))
    axes.grid()
    legend_below(figure, *axes.get_legend_handles_labels())


def _number_front(
    axes: Any, front: Sequence[tuple[float, float, PointMark]]
) -> tuple[list[Any], list[str]]:
    """Draw a number at each point of the front; return the handles and labels of their key."""
    labels = []
    # Where there are very many, those without an entry in the key stay without a number.
    for number, (x, y, mark) in enumerate(front[:MAX_KEYS], 1):
        axes.annotate(
            str(number),
            (x, y),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            fontsize="small",
            color=FRONT_COLOR,
        )
        labels.append(f"{number}: {point_words(mark)}")
    if len(front) > MAX_KEYS:
        labels.append(f"… {len(front) - MAX_KEYS} more")
    # A legend needs a line for each entry; these are empty.
    return [axes.plot([], [])[0] for _ in labels], labels


def draw_tornado(figure: Any, rows: Sequence[Sensitivity]) -> None:
    """Draw the gains from a fifth less and a fifth more of each number, the first row on top."""
    axes = figure.subplots()
    names = [f"{words(row.path)}\n{format_quantity(row.path, row.base_value)}" for row in rows]
    for color, label, gains in (
        (LOW_COLOR, "20 % less", [row.low_gain_fraction for row in rows]),
        (HIGH_COLOR, "20 % more", [row.high_gain_fraction for row in rows]),
    ):
        percents = [100 * gain if gain is not None else 0.0 for gain in gains]
        bars = axes.barh(names, percents, color=color, label=label)
        texts = [
            "does not fit"
            if gain is None
            else f"{100 * gain:+.1f} %"
            if abs(gain) >= 0.0005
            else ""
            for gain in gains
        ]
        axes.bar_label(bars, labels=texts, padding=3, fontsize="small")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.18)
    axes.invert_yaxis()
    axes.set_xlabel("change of the best plan's speed (%), planned anew")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    legend_below(figure, *axes.get_legend_handles_labels())


def draw_bars(figure: Any, result: WhatifResult) -> None:
    """Draw a bar for each point, in the study's order, and a mark for the best named system."""
    axes = figure.subplots()
    name, factor, label = FIGURES[result.objective]
    rows = result.rows[:MAX_BARS]
    names = [point_words(row) or "the base" for row in rows]
    bars = axes.barh(
        names,
        [row.metrics[name] * factor if row.is_feasible else 0.0 for row in rows],
        color="#444444",
        label="best plan",
    )
    texts = [
        f"{format_count(row.metrics[name] * factor)}  {row.policy}"
        if row.is_feasible
        else "does not fit"
        for row in rows
    ]
    # The mark of a named system may lie at the end of its bar, so words begin behind it.
    axes.bar_label(bars, labels=texts, padding=12, fontsize="small")
    marked = [
        (row.named[row.best_named_policy][name] * factor, place)
        for place, row in enumerate(rows)
        if row.best_named_policy
    ]
    axes.plot(
        [value for value, _ in marked],
        [names[place] for _, place in marked],
        "D",
        color=LOW_COLOR,
        label="best named system",
    )
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_xlim(0, 1.35 * max(bar.get_width() for bar in bars))
    legend_below(figure, *axes.get_legend_handles_labels())


def point_words(row: WhatifRow | PointMark) -> str:
    """Return a point's values in words."""
    return ", ".join(short(path, value) for path, value in row.values.items())
