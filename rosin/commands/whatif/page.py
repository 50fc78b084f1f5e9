"""A study, for a person: the points, the effects, changes of the best policy, where gains end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import fill

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes, format_duration
from planner.study.axes import COUNTS, NAMES, Value
from rosin.commands.whatif.analysis import WORTHWHILE_GAIN, speed, speed_of
from rosin.commands.whatif.bars import point_words
from rosin.commands.whatif.document import (
    PolicyChange,
    Saturation,
    Sensitivity,
    WhatifResult,
)
from rosin.commands.whatif.rows import WhatifRow
from rosin.report.axis_words import at_words, short, words
from rosin.report.tables import (
    format_change,
    format_count,
    format_quantity,
    number_column,
    plain_table,
    text_column,
)

MAX_ROWS = 20
MAX_LINES = 6
MAX_AXIS_COLUMNS = 3
MAX_AXIS_WIDTH = 24
LINE_WIDTH = 79


def whatif_page(result: WhatifResult) -> Iterator[RenderableType]:
    """The whole summary, in 80 columns."""
    setting = result.setting
    varied = {axis.path for axis in result.axes}
    model, machine = (
        "varies" if path in varied else getattr(setting, path) for path in ("model", "machine")
    )
    yield Text(f"model    {model}\nmachine  {machine}{_overrides(result)}")
    prompts = f"{setting.batch_size} × {setting.prompt_tokens} prompt tokens"
    yield Text(f"work     {prompts}, {setting.output_tokens} output tokens{_instead(result)}")
    # Points of the tornado are computed, too, so the number may be above that of the rows.
    kept = len(result.rows) - min(result.num_computed, len(result.rows))
    before = f", {kept:,} kept from before" if kept else ""
    yield Text(
        f"study    {len(result.rows):,} points, each planned for {result.objective}{before}\n"
    )
    rows = _shown(result)
    yield _points(result, rows)
    if len(rows) < len(result.rows):
        yield Text(
            f"\nThe {len(rows)} best of {len(result.rows):,} points for {result.objective}; table.csv has all."
        )
    yield Text("\nnamed: the best published system there, and how much faster the plan is.\n")
    yield from _findings(result)
    if result.sensitivities:
        yield Text(
            f"\nEach number of the machine 20 % less and 20 % more, planned anew ({result.objective}):"
        )
        yield _tornado(result.sensitivities)
    yield Text("\n" + "\n".join(["wrote", *(f"  {file}" for file in result.files)]))


def _instead(result: WhatifResult) -> str:
    """Return in words which counts or names of the base the study varies; empty if none."""
    varied = sorted({axis.path for axis in result.axes} & {*COUNTS, *NAMES} - {"model", "machine"})
    return f"; {', '.join(varied)} {'vary' if len(varied) > 1 else 'varies'}" if varied else ""


def _overrides(result: WhatifResult) -> str:
    overrides = result.setting.machine_overrides
    return f" with {', '.join(overrides)}" if overrides else ""


def _shown(result: WhatifResult) -> Sequence[WhatifRow]:
    """Return all rows in order, or only the best MAX_ROWS of many."""
    if len(result.rows) <= MAX_ROWS:
        return result.rows
    # A point without a plan has nothing to be sorted by.
    feasible = [mark for mark in result.rows.marks if mark.is_feasible]
    best = sorted(feasible, key=lambda mark: -speed(mark.figure, result.objective))[:MAX_ROWS]
    return list(result.rows.at(mark.place for mark in best))


def _points(result: WhatifResult, rows: Sequence[WhatifRow]) -> Table:
    paths = [axis.path for axis in result.axes]
    has_columns = len(paths) <= MAX_AXIS_COLUMNS
    heads = (
        [text_column(words(path), width=_width(result, path)) for path in paths]
        if has_columns
        else [text_column("point", width=30)]
    )
    priced = any(
        row.price_usd is not None for row in rows
    )  # then there is no room for TPOT in 80 characters
    figures = [number_column(name) for name in ("tokens/s", "TTFT", "TPOT")[: 2 if priced else 3]]
    price = [number_column("price")] if priced else []
    table = plain_table(*heads, *price, *figures, text_column("plan"), text_column("named"))
    table.padding = 0  # up to nine columns in 80 characters
    for row in rows:
        point = (
            [short(path, row.values[path]) for path in paths] if has_columns else [point_words(row)]
        )
        dollars = [f"${row.price_usd:,.0f}" if row.price_usd is not None else ""] if priced else []
        numbers, texts = _figures(row, result.objective)
        table.add_row(*point, *dollars, *numbers[: len(figures)], *texts)
    return table


def _width(result: WhatifResult, path: str) -> int:
    """Return the width of an axis's column in characters, by its values and its words."""
    values = next(axis.values for axis in result.axes if axis.path == path)
    texts = (*words(path).split(), *(short(path, value) for value in values))
    longest = max(len(text) for text in texts)
    return min(longest, MAX_AXIS_WIDTH)


def _figures(row: WhatifRow, objective: str) -> tuple[list[str], list[str]]:
    """Return the speed and times of a row, then its plan and the best named system."""
    if not row.is_feasible:
        return [""] * 3, [f"does not fit: {format_bytes(row.missing_bytes or 0)} short", ""]
    metrics = row.metrics
    tpot = format_duration(metrics["tpot_s"]) if metrics["tpot_s"] else ""
    numbers = [
        format_count(metrics["output_tokens_per_s"]),
        format_duration(metrics["ttft_s"]),
        tpot,
    ]
    return numbers, [row.policy or "", _named(row, objective)]


def _named(row: WhatifRow, objective: str) -> str:
    if row.best_named_policy is None:
        return ""
    named = row.named[row.best_named_policy]
    gain = speed_of(row.metrics, objective) / speed_of(named, objective) - 1
    return f"{row.best_named_policy} {format_change(gain)}"


def _findings(result: WhatifResult) -> Iterator[RenderableType]:
    if result.effects:
        listed = "; ".join(
            f"{words(effect.path)} ×{1 + effect.speed_gain_fraction:.2f}"
            for effect in result.effects
        )
        yield Text(
            fill(
                f"What changes most, from the worst to the best {result.objective} along it: {listed}.",
                LINE_WIDTH,
            )
        )
    yield from _listed(
        "Where the best policy changes:",
        _grouped((_change(change), change.at) for change in result.policy_changes),
    )
    has_numbers = any(
        len(axis.values) > 1 and not isinstance(axis.values[0], str) for axis in result.axes
    )
    if (
        has_numbers
        and not result.policy_changes
        and any(mark.is_feasible for mark in result.rows.marks)
    ):
        yield Text("\nThe best policy is the same along every number that varies.")
    yield from _listed(
        "Diminishing returns:",
        _grouped((_returns(saturation), saturation.at) for saturation in result.saturations),
    )


def _listed(title: str, lines: Sequence[str]) -> Iterator[RenderableType]:
    if lines:
        yield Text(f"\n{title}")
        more = (
            [f"… and {len(lines) - MAX_LINES} more: see --json"] if len(lines) > MAX_LINES else []
        )
        filled = [
            fill(line, LINE_WIDTH, initial_indent="  ", subsequent_indent="    ")
            for line in (*lines[:MAX_LINES], *more)
        ]
        yield Text("\n".join(filled))


def _grouped(statements: Iterable[tuple[str, Mapping[str, Value]]]) -> list[str]:
    """Return each statement once, with the first place where it holds and the number of others."""
    places: dict[str, list[str]] = {}
    for statement, at in statements:
        places.setdefault(statement, []).append(at_words(at))
    return [f"{statement}{_places(found)}" for statement, found in places.items()]


def _places(found: Sequence[str]) -> str:
    # Either all statements of a study hold at some place, or none names one.
    if not found[0]:
        return ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f" ({found[0]}{more})"


def _change(change: PolicyChange) -> str:
    where = f"{short(change.path, change.from_value)} → {short(change.path, change.to_value)}"
    return f"{words(change.path)} {where}: {change.from_policy} → {change.to_policy}"


def _returns(saturation: Saturation) -> str:
    gain = f"{100 * WORTHWHILE_GAIN:.0f} %"
    if saturation.value is None:
        return f"{words(saturation.path)}: up to the last value, twice as much gives {gain} or more"
    return f"{words(saturation.path)}: beyond {short(saturation.path, saturation.value)}, twice as much gives less than {gain}"


def _tornado(rows: Sequence[Sensitivity]) -> Table:
    table = plain_table(
        text_column("number"),
        number_column("value"),
        number_column("20 % less"),
        number_column("20 % more"),
    )
    for row in rows:
        table.add_row(
            words(row.path),
            format_quantity(row.path, row.base_value),
            _gain(row.low_gain_fraction),
            _gain(row.high_gain_fraction),
        )
    return table


def _gain(fraction: float | None) -> str:
    return "does not fit" if fraction is None else format_change(fraction, 1)
