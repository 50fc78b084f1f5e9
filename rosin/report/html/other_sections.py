"""Sections of a page besides a run: policies, bounds, sensitivities, figures and rows."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any

from hwprofiles.units import format_bytes, format_duration
from rosin.report.axis_words import words
from rosin.report.html import charts
from rosin.report.html.charts import Bar
from rosin.report.html.markup import LONG_CHARACTERS, Section, table
from rosin.report.tables import format_count, format_quantity, format_share

MAX_ROWS = 500
"""The most rows of a result that a page shows."""
_SHORT_NAMES = MappingProxyType(
    {"ttft": "TTFT", "tpot": "TPOT", "h2d": "to GPU", "d2h": "from GPU"}
)
_UNIT_ENDINGS = ("_bytes_per_s", "_bytes", "_fraction", "_s", "_ns", "_usd", "_hz")


def policies_section(rows: Sequence[Mapping[str, Any]], chosen: str | None = None) -> Section:
    """Return the section of policies by speed, the fastest first.

    ``rows`` are rows of the JSON; a policy that does not fit has no metrics.
    """
    running = [row for row in rows if row.get("metrics")]
    running.sort(key=lambda row: -row["metrics"]["output_tokens_per_s"])
    bars = []
    lines = []
    for row in running:
        metrics = row["metrics"]
        speed = f"{format_count(metrics['output_tokens_per_s'])} tokens/s"
        name = f"{row['policy']}{_mark(row)}"
        key = "c2" if row["policy"] == chosen else "c0"
        part = (key, metrics["output_tokens_per_s"], f"{name}: {speed}")
        bars.append(Bar(name=name, parts=[part], value=speed))
        lines.append(
            (
                name,
                speed,
                format_duration(metrics["ttft_s"]),
                format_duration(metrics["tpot_s"]),
                format_share(metrics["expert_hit_rate"]),
            )
        )
    columns = ("policy", "output", "TTFT", "TPOT", "hit rate")
    body = charts.bars("Output speed by policy", bars)
    body += table("Policies", columns, lines, is_folded=True)
    misfits = [
        (row["policy"], row.get("reason") or "", format_bytes(row.get("missing_bytes") or 0))
        for row in rows
        if not row.get("metrics")
    ]
    if misfits:
        body += table("Policies that do not fit", ("policy", "because", "too much"), misfits)
    lead = "All on the same work. * lossy: its tokens differ from a plain forward pass. † knows the future: no system can."
    sampled = {row["num_sampled_tokens"] for row in running if row.get("num_sampled_tokens")}
    for count in sampled:
        lead += f" ~ not run whole: foretold from its first {count} output tokens."
    return Section(title="Speed by policy", lead=lead, body=body)


def bounds_section(bounds: Mapping[str, Any], end_to_end_s: float) -> Iterator[Section]:
    """Yield a section with the run's time beside its proven bounds, if there are any."""
    named = {
        "static_bound_s": "no fixed placement is faster",
        "clairvoyant_bound_s": "nothing lossless is",
    }
    rows = [("this plan", end_to_end_s)]
    rows += [(text, bounds[key]) for key, text in named.items() if bounds.get(key)]
    # The plan alone, without a limit beside it, compares nothing.
    if len(rows) < 2:
        return
    bars = [
        Bar(
            name=name if place == 0 else ("best fixed" if "fixed" in name else "best imaginable"),
            parts=[("c2" if place == 0 else "c6", seconds, name)],
            value=format_duration(seconds),
        )
        for place, (name, seconds) in enumerate(rows)
    ]
    body = charts.bars("The plan and its proven limits", bars)
    lead = "Proven on this machine: no fixed placement is faster than the one, nothing lossless than the other."
    yield Section(title="How much better it could be", lead=lead, body=body)


def sensitivity_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Return the section of gains from a fifth less and a fifth more of each machine number."""
    lines = [
        (
            words(row["path"]),
            format_quantity(row["path"], row["base_value"]),
            _percent(row["low_gain_fraction"]),
            _percent(row["high_gain_fraction"]),
        )
        for row in rows
    ]
    columns = ("number", "now", "20 % less", "20 % more")
    lead = "Change of the best plan's speed, planned anew; what matters most is on top."
    return Section(
        title="Which number matters", lead=lead, body=table("Sensitivity", columns, lines)
    )


def rows_section(title: str, lead: str, rows: Sequence[Mapping[str, Any]]) -> Section:
    """Return a table of flat rows, whose columns are the keys of the first row.

    A value that all rows share is written once above the table. Without columns the table is empty.
    """
    columns = shown_columns(rows)
    shared = _shared(columns, rows)
    columns = [key for key in columns if key not in shared]
    if shared:
        said = ", ".join(f"{heading(key)} {cell}" for key, cell in shared.items())
        lead = f"{lead} In all rows: {said}.".lstrip()
    lines = [[_cell(key, row.get(key)) for key in columns] for row in rows] if columns else []
    body = table(title, [heading(column) for column in columns], lines)
    return Section(title=title, lead=lead, body=body)


def shown_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of the first row whose values are words or numbers in at least one of the rows.

    JSON has every key; a table for people leaves out columns that are empty in all rows.
    """
    columns = [key for key in rows[0] if not isinstance(rows[0][key], dict | list)] if rows else []
    return [key for key in columns if any(_cell(key, row.get(key)) for row in rows)]


def _shared(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the short cells that are equal in all of several rows, by key.

    The first column is left out, since it names the row.
    """
    found = {key: {_cell(key, row.get(key)) for row in rows} for key in columns[1:]}
    if len(rows) < 2:
        return {}
    single = {key: next(iter(cells)) for key, cells in found.items() if len(cells) == 1}
    return {key: cell for key, cell in single.items() if len(cell) <= LONG_CHARACTERS}


def heading(key: str) -> str:
    """The key of a number in words. Its unit stands with the number, or behind the words."""
    if "." in key:
        return words(key)
    if "tokens_per_s" in key:
        return key.replace("tokens_per_s", "tokens/s").replace("_", " ")
    ending = next((each for each in _UNIT_ENDINGS if key.endswith(each)), "")
    parts = key.removesuffix(ending).removeprefix("num_").split("_")
    return " ".join(_SHORT_NAMES.get(part, part) for part in parts)


def figures_section(figures: Mapping[str, str]) -> Iterator[Section]:
    """Yield a section with the figures of a folder, as SVG in the page."""
    if figures:
        body = "".join(
            f'<figure role="img" aria-label="{name}"><div class="scroll" tabindex="0" role="region" '
            f'aria-label="{name}, figure">{svg}</div><figcaption class="soft">{name}</figcaption></figure>'
            for name, svg in ((escape(stem), svg) for stem, svg in figures.items())
        )
        yield Section(title="Figures", lead="As the command drew them.", body=body)


def _mark(row: Mapping[str, Any]) -> str:
    lossy = "" if row.get("is_lossless", True) else " *"
    future = " †" if row.get("knows_future") else ""
    return lossy + future + (" ~" if row.get("num_sampled_tokens") else "")


def _percent(gain: float | None) -> str:
    if gain is None:
        return "does not fit"
    # A smaller change would be printed as +0.0 %.
    return f"{100 * gain:+.1f} %" if abs(gain) >= 0.0005 else "nothing"


def _cell(key: str, value: Any) -> str:
    """Return a value in the unit that its key states; empty for None and NaN."""
    # NaN is the one value that is not equal to itself.
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and key.endswith("_fraction"):
        return f"{100 * value:.1f} %"
    if isinstance(value, float):
        return format_quantity(key, value) if _has_unit(key) else format_count(value)
    return str(value)


def _has_unit(key: str) -> bool:
    """Return whether a value is printed with a unit, which the ending of its key states."""
    # Tokens a second are no duration, though their name ends in the unit of one.
    return key.endswith(("_s", "_bytes", "_ns", "_usd", "_hz")) and "tokens_per_s" not in key
