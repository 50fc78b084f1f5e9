"""Fiddler's targets, and whether they are met."""

from collections.abc import Iterable

from validation.published.fiddler.headlines import verdict
from validation.published.reproduction import Cell, SummaryLine, Table

V1_ERROR_FRACTION = 0.20
STREAMING_ERROR_FRACTION = 0.10
SWAPPING_ERROR_FRACTION = 0.15
MISSES_RANGE = (31.0, 41.0)
HIT_RATE_POINTS = 2.0


def summary_of(tables: tuple[Table, ...], *, has_popularity: bool) -> tuple[SummaryLine, ...]:
    """One line a target, in the order of the tables; headlines have none."""
    by_name = {table.name: table for table in tables}
    streaming, swapping = by_name["deepspeed_mii"].cells, by_name["mixtral_offloading"].cells
    return (
        _v1(by_name["v1"]),
        _within(
            "DeepSpeed-MII, E2: seconds per token at any length",
            _of(streaming, "E2", "seconds_per_output_token"),
            STREAMING_ERROR_FRACTION,
        ),
        _within("DeepSpeed-MII, E2: TTFT at 512 to 4096", _of(streaming, "E2", "ttft_s"), None),
        _within(
            "DeepSpeed-MII, E1: tokens/s",
            _of(streaming, "E1", "output_tokens_per_s"),
            STREAMING_ERROR_FRACTION,
        ),
        _within(
            "Mixtral-Offloading, E2: seconds in total, 12 cells",
            _of(swapping, "E2", "end_to_end_s"),
            SWAPPING_ERROR_FRACTION,
        ),
        _within(
            "Mixtral-Offloading, E2: seconds per decoded token",
            _of(swapping, "E2", "tpot_s"),
            SWAPPING_ERROR_FRACTION,
        ),
        _misses(_of(swapping, "E2", "decode_expert_misses_per_step")[0]),
        _within("Mixtral-Offloading, E2: TTFT at 512 to 4096", _of(swapping, "E2", "ttft_s"), None),
        _within(
            "Mixtral-Offloading, E1: tokens/s",
            _of(swapping, "E1", "output_tokens_per_s"),
            SWAPPING_ERROR_FRACTION,
        ),
        *_residency(by_name["residency"], has_popularity),
        *(_headline(cell) for cell in by_name["headlines"].cells),
    )


def _of(cells: Iterable[Cell], environment: str, quantity: str) -> list[Cell]:
    return [cell for cell in cells if cell.environment == environment and cell.quantity == quantity]


def _v1(table: Table) -> SummaryLine:
    error = table.mean_absolute_error_fraction
    return SummaryLine(
        name="Fiddler v1, E1: mean absolute error of 18 cells",
        target=f"<= {V1_ERROR_FRACTION:.0%}",
        found=f"{error:.1%}",
        is_met=error <= V1_ERROR_FRACTION,
    )


def _within(name: str, cells: list[Cell], limit: float | None) -> SummaryLine:
    """The worst of the cells against a limit; None: reported without a target."""
    worst = max((cell.error_fraction for cell in cells), key=abs)
    target = "no target" if limit is None else f"each within ± {limit:.0%}"
    return SummaryLine(
        name=name,
        target=target,
        found=f"worst {worst:+.1%}",
        is_met=None if limit is None else abs(worst) <= limit,
    )


def _misses(cell: Cell) -> SummaryLine:
    low, high = MISSES_RANGE
    found, is_met = f"{cell.simulated:.1f} of 64", low <= cell.simulated <= high
    return SummaryLine(
        name="Mixtral-Offloading, E2: misses per token",
        target=f"{low:g} to {high:g} of 64",
        found=found,
        is_met=is_met,
    )


def _residency(table: Table, has_popularity: bool) -> list[SummaryLine]:
    counts = [cell for cell in table.cells if cell.quantity == "num_resident_experts"]
    rates = [cell for cell in table.cells if cell.quantity == "hit_rate_percent"]
    lines = [_line(cell, "equal", cell.simulated == cell.published) for cell in counts]
    lines += [
        _line(
            cell,
            f"within {HIT_RATE_POINTS:g} points",
            abs(cell.simulated - cell.published) <= HIT_RATE_POINTS,
        )
        for cell in rates
    ]
    if not has_popularity:
        skipped = "skipped: needs a file of measured popularity, none was given"
        lines.append(
            SummaryLine(
                name="Fiddler: hit rates",
                target=f"within {HIT_RATE_POINTS:g} points",
                found=skipped,
                is_met=None,
            )
        )
    return lines


def _headline(cell: Cell) -> SummaryLine:
    """A ratio with what all readings span, and what follows; without a target, since readings are
    assumed.
    """
    values = [cell.simulated, *(comparison.simulated for comparison in cell.comparisons)]
    found = f"{_pair(cell)}; readings {min(values):.2f} to {max(values):.2f}: {verdict(cell)}"
    return SummaryLine(name=cell.system, target="no target", found=found, is_met=None)


def _line(cell: Cell, target: str, is_met: bool) -> SummaryLine:
    name = f"{cell.system}, {cell.environment}: {'hit rate' if cell.unit == '%' else 'experts on the GPU'}"
    return SummaryLine(name=name, target=target, found=_pair(cell), is_met=is_met)


def _pair(cell: Cell) -> str:
    return f"{cell.simulated:.4g} {cell.unit}, published {cell.published:g}"
