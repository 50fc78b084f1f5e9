"""LMCache's targets, and whether they are met."""

from validation.published.lmcache.reuse import RATES_GBIT, Crossover
from validation.published.reproduction import Cell, SummaryLine, Table

TRANSFER_ERROR_FRACTION = 0.05
HIT_RATE_DIGITS = 2
"""Digits of a percentage: four of the rate."""

CROSSOVER_ERROR_FRACTION = 0.2
SKIPPED = "skipped: needs Mooncake's conversation trace, --requests FILE"


def summary_of(tables: tuple[Table, ...], found: tuple[Crossover, ...]) -> tuple[SummaryLine, ...]:
    """One line a target, in the order of the tables."""
    by_name = {table.name: table for table in tables}
    lines = [_transfer(cell) for cell in by_name["transfer"].cells]
    lines += [_reuse(cell) for cell in by_name["reuse"].cells]
    lines += [_order(each) for each in found]
    lines.append(_crossover(by_name["crossover"]))
    rates = by_name.get("hit_rates")
    lines += [_hit_rate(cell) for cell in rates.cells] if rates else [_no_hit_rates()]
    return tuple(lines)


def _transfer(cell: Cell) -> SummaryLine:
    return SummaryLine(
        name=f"CPU to GPU, {cell.system}",
        target=f"{cell.published:g} {cell.unit} ± {TRANSFER_ERROR_FRACTION:.0%}",
        found=f"{cell.simulated:.1f} {cell.unit}",
        is_met=abs(cell.error_fraction) <= TRANSFER_ERROR_FRACTION,
    )


def _reuse(cell: Cell) -> SummaryLine:
    return SummaryLine(
        name=f"Least rate, {cell.system} on {cell.environment}",
        target=f"{cell.published:g} {cell.unit} as rounded",
        found=f"{cell.simulated:.2f} {cell.unit}",
        is_met=round(cell.simulated) == cell.published,
    )


def _order(found: Crossover) -> SummaryLine:
    slow, *others = RATES_GBIT
    return SummaryLine(
        name=f"B200, {found.model} in {found.dtype}: {', '.join(map(str, RATES_GBIT))} Gbit/s",
        target=f"{' and '.join(map(str, others))} always, {slow} not",
        found="from " + ", ".join(_tokens(found.tokens[rate]) for rate in RATES_GBIT) + " tokens",
        is_met=found.is_in_the_papers_order,
    )


def _tokens(count: int | None) -> str:
    if count is None:
        return "never"
    return f"{count / 1024:.0f}K" if count >= 1024 else str(count)


def _crossover(table: Table) -> SummaryLine:
    nearest = min(table.cells, key=lambda cell: abs(cell.error_fraction))
    return SummaryLine(
        name="B200, 32 Gbit/s: where loading starts to win",
        target=f"{_tokens(round(nearest.published))} tokens ± {CROSSOVER_ERROR_FRACTION:.0%}",
        found=f"nearest {_tokens(round(nearest.simulated))}, {nearest.system.split(', ')[1]}",
        is_met=abs(nearest.error_fraction) <= CROSSOVER_ERROR_FRACTION,
    )


def _hit_rate(cell: Cell) -> SummaryLine:
    return SummaryLine(
        name=f"Token hit rate, {cell.system}",
        target=f"{cell.published:.2f} %",
        found=f"{cell.simulated:.2f} %",
        is_met=round(cell.simulated, HIT_RATE_DIGITS) == round(cell.published, HIT_RATE_DIGITS),
    )


def _no_hit_rates() -> SummaryLine:
    return SummaryLine(
        name="Token hit rates of one LRU pool",
        target="equal to four digits",
        found=SKIPPED,
        is_met=None,
    )
