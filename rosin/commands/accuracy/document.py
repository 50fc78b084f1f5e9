"""The text of docs/accuracy.md, made from a comparison with measured rows."""

from collections.abc import Iterator

from rosin.commands.accuracy.page import HEADINGS, group_cells, percent, reasons
from validation.accuracy import AccuracyResult

GROUP_WORDS = {
    "all": "All rows",
    "kind": "Kinds of rows",
    "runtime": "By runtime",
    "rig": "By machine",
    "format": "By format of the experts",
    "depth": "By tokens in the KV cache",
}


def accuracy_document(result: AccuracyResult) -> str:
    """The page in Markdown, with a final newline."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: AccuracyResult) -> Iterator[str]:
    yield "# How accurate predictions of runtimes are"
    yield ""
    yield _introduction(result)
    for phase in dict.fromkeys(item.phase for item in result.summary):
        yield ""
        yield f"## {phase.capitalize()}"
        yield ""
        yield f"![{phase}: predicted against measured](accuracy-{phase}.png)"
        yield from _groups(result, phase)
        yield from _baselines(result, phase)
    yield from _constants(result)
    yield from _left_out(result)


def _introduction(result: AccuracyResult) -> str:
    expressed = sum(row.reason is None for row in result.rows)
    rigs = len({row.rig for row in result.rows if row.reason is None})
    how = (
        "Each machine's rows are predicted with constants that are fitted on all other machines."
        if result.leaves_one_rig_out
        else "All rows are predicted with the constants that ship."
    )
    return (
        f"`rosin accuracy` made this page out of {len(result.rows)} measured rows, of which {expressed} rows of {rigs} "
        f"machines can be expressed. {how} An error is that of the predicted tokens per second, relative to the measured. "
        f"*Over machines* is the median of each machine's median. *Covered* is the share of measurements inside the "
        f"{result.coverage_fraction:.0%} interval, *of a machine* the mean of that share over machines. "
        "*Ordered* counts pairs of rows of one machine that differ by more than 5 %."
    )


def _groups(result: AccuracyResult, phase: str) -> Iterator[str]:
    for by, words in GROUP_WORDS.items():
        groups = [item for item in result.summary if item.phase == phase and item.by == by]
        if not groups:
            continue
        yield ""
        yield f"### {words}"
        yield ""
        yield f"| group | {' | '.join(HEADINGS)} |"
        yield f"| --- |{' ---: |' * len(HEADINGS)}"
        for item in groups:
            yield f"| {item.group} | {' | '.join(group_cells(item))} |"


def _baselines(result: AccuracyResult, phase: str) -> Iterator[str]:
    yield ""
    yield "### Simple rules on the same rows"
    yield ""
    yield "| rule | median | 90th | ordered |"
    yield "| --- | ---: | ---: | ---: |"
    for item in result.baselines:
        if item.phase == phase:
            cells = (item.median_error_fraction, item.p90_error_fraction, item.order_fraction)
            yield f"| {item.baseline} | {' | '.join(percent(cell) for cell in cells)} |"


def _constants(result: AccuracyResult) -> Iterator[str]:
    yield ""
    yield "## Constants"
    yield ""
    yield "What each means stands in `sim/runtimes/constants.yaml`. The spread is over the fits without one machine."
    yield ""
    yield "| constant | value | spread |"
    yield "| --- | ---: | ---: |"
    for name, value in result.constants.items():
        yield f"| {name} | {value:.3g} | {percent(result.constant_spreads[name])} |"


def _left_out(result: AccuracyResult) -> Iterator[str]:
    found = reasons(result)
    if not found:
        return
    yield ""
    yield "## Rows that cannot be expressed"
    yield ""
    yield "| rows | reason |"
    yield "| ---: | --- |"
    for reason, count in found:
        # A bar in the words would end the cell of the Markdown table.
        yield f"| {count} | {reason.replace('|', '/')} |"
