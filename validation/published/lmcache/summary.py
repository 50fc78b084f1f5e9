"""LMCache's targets, and whether they are met."""

from hwprofiles.units import KIBI
from validation.published.lmcache.reuse import RATES_GBIT, Crossover
from validation.published.reproduction import Cell, SummaryLine, Table
from validation.published.target import Target, near, rounded, untargeted

TRANSFER_ERROR_FRACTION = 0.05
HIT_RATE_DIGITS = 2
"""Digits of a hit rate in percent after the point, which are four of the rate."""

CROSSOVER_ERROR_FRACTION = 0.2
SKIPPED = "skipped: needs Mooncake's conversation trace, a file of requests"


def summary_of(tables: tuple[Table, ...], found: tuple[Crossover, ...]) -> tuple[SummaryLine, ...]:
    """Return one line for each target, in the order of the tables."""
    by_name = {table.name: table for table in tables}
    lines = [_transfer(cell) for cell in by_name["transfer"].cells]
    lines += [_reuse(cell) for cell in by_name["reuse"].cells]
    lines += [_order(found), *(_set_up(each) for each in found)]
    lines += [_crossover(by_name["crossover"]), _arithmetic(found)]
    rates = by_name.get("hit_rates")
    lines += [_hit_rate(cell) for cell in rates.cells] if rates else [_no_hit_rates()]
    return tuple(lines)


def _transfer(cell: Cell) -> SummaryLine:
    words = f"{cell.published:g} {cell.unit} ± {TRANSFER_ERROR_FRACTION:.0%}"
    target = near(cell.published, TRANSFER_ERROR_FRACTION * cell.published, words)
    found = f"{cell.simulated:.1f} {cell.unit}"
    return target.line(f"CPU to GPU, {cell.system}", found, cell.simulated)


def _reuse(cell: Cell) -> SummaryLine:
    target = rounded(cell.published, 0, f"{cell.published:g} {cell.unit} as rounded")
    name = f"Least rate, {cell.system} on {cell.environment}"
    return target.line(name, f"{cell.simulated:.2f} {cell.unit}", cell.simulated)


def _order(found: tuple[Crossover, ...]) -> SummaryLine:
    """Return the set-ups that are in the paper's order.

    The paper has one set-up and does not name it, so one in its order meets the target.
    """
    slow, *others = RATES_GBIT
    right = [f"{each.model} in {each.dtype}" for each in found if each.is_in_the_papers_order]
    words = f"{' and '.join(map(str, others))} Gbit/s always, {slow} not: some set-up"
    target = Target(words=words, low=1.0)
    found_words = ", ".join(right) or "none"
    return target.line("B200: when loading wins", found_words, float(len(right)))


def _set_up(found: Crossover) -> SummaryLine:
    rates = ", ".join(map(str, RATES_GBIT))
    words = "from " + ", ".join(_tokens(found.tokens[rate]) for rate in RATES_GBIT) + " tokens"
    return untargeted(f"B200, {found.model} in {found.dtype}: {rates} Gbit/s", words)


def _arithmetic(found: tuple[Crossover, ...]) -> SummaryLine:
    """Return the ratios of attention, beside what both of the paper's statements need."""
    ratios = [each.attention_ratio for each in found]
    words = f"{min(ratios):.1f} to {max(ratios):.1f}; both statements at once need 1 at most"
    return untargeted("B200: attention over weights at 256K tokens", words)


def _tokens(count: int | None) -> str:
    if count is None:
        return "never"
    return f"{count / KIBI:.0f}K" if count >= KIBI else str(count)


def _crossover(table: Table) -> SummaryLine:
    # The paper does not name its set-up, so the nearest of ours stands for it.
    nearest = min(table.cells, key=lambda cell: abs(cell.error_fraction))
    limit = CROSSOVER_ERROR_FRACTION
    words = f"{_tokens(round(nearest.published))} tokens ± {limit:.0%}"
    target = near(nearest.published, limit * nearest.published, words)
    found = f"nearest {_tokens(round(nearest.simulated))}, {nearest.system.split(', ')[1]}"
    name = "B200, 32 Gbit/s: where loading starts to win"
    return target.line(name, found, nearest.simulated)


def _hit_rate(cell: Cell) -> SummaryLine:
    target = rounded(cell.published, HIT_RATE_DIGITS, f"{cell.published:.2f} %")
    name = f"Token hit rate, {cell.system}"
    return target.line(name, f"{cell.simulated:.2f} %", cell.simulated)


def _no_hit_rates() -> SummaryLine:
    return SummaryLine(
        name="Token hit rates of one LRU pool",
        target="equal to four digits",
        found=SKIPPED,
        is_met=None,
    )
