"""Fiddler's targets, and whether they are met."""

from collections.abc import Iterable

from validation.published.claim import reach, reading_verdict
from validation.published.fiddler.decoding_curves import (
    NUM_BEAMS,
    THRESHOLD_TOKENS,
    num_copies,
)
from validation.published.reproduction import Cell, SummaryLine, Table
from validation.published.target import (
    Target,
    at_most,
    between,
    errors_within,
    near,
    untargeted,
)

V1_ERROR_FRACTION = 0.20
STREAMING_ERROR_FRACTION = 0.10
SWAPPING_ERROR_FRACTION = 0.15
MISSES_RANGE = (31.0, 41.0)
HIT_RATE_POINTS = 2.0
STEP = 2.0
SHARED_STEP = 1.4
"""Factors by which a number of copies takes longer than the number before it.

STEP holds where all experts go to the GPU, SHARED_STEP where those go that both hypotheses select.
"""


def summary_of(tables: tuple[Table, ...], *, has_popularity: bool) -> tuple[SummaryLine, ...]:
    """Return one line for each target, in the order of the tables; headlines have no target."""
    by_name = {table.name: table for table in tables}
    streaming = by_name["deepspeed_mii"].cells
    swapping = by_name["mixtral_offloading"].cells
    two_beams = by_name["two_beams"]
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
            "DeepSpeed-MII, L4: seconds per token at any length",
            _of(streaming, "L4", "seconds_per_output_token"),
            STREAMING_ERROR_FRACTION,
        ),
        _within("DeepSpeed-MII, L4: TTFT at 512 to 4096", _of(streaming, "L4", "ttft_s"), None),
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
        _step("Copies of one hypothesis", by_name["one_beam"], STEP, THRESHOLD_TOKENS),
        _step(
            "Copies of two, shared experts", two_beams, SHARED_STEP, THRESHOLD_TOKENS // NUM_BEAMS
        ),
        _step("Copies of two, all experts", two_beams, STEP, THRESHOLD_TOKENS),
    )


def _of(cells: Iterable[Cell], environment: str, quantity: str) -> list[Cell]:
    return [cell for cell in cells if cell.environment == environment and cell.quantity == quantity]


def _v1(table: Table) -> SummaryLine:
    error = table.mean_absolute_error_fraction
    name = "Fiddler v1, E1: mean absolute error of 18 cells"
    return at_most(V1_ERROR_FRACTION).line(name, f"{error:.1%}", error)


def _within(name: str, cells: list[Cell], limit: float | None) -> SummaryLine:
    """Return the worst of the cells against a limit; without a limit it is reported without a
    target.
    """
    worst = max((cell.error_fraction for cell in cells), key=abs)
    found = f"worst {worst:+.1%}"
    if limit is None:
        return untargeted(name, found)
    return errors_within(limit).line(name, found, worst)


def _misses(cell: Cell) -> SummaryLine:
    name = "Mixtral-Offloading, E2: misses per token"
    found = f"{cell.simulated:.1f} of 64"
    return between(*MISSES_RANGE, "of 64").line(name, found, cell.simulated)


def _residency(table: Table, has_popularity: bool) -> list[SummaryLine]:
    counts = [cell for cell in table.cells if cell.quantity == "num_resident_experts"]
    rates = [cell for cell in table.cells if cell.quantity == "hit_rate_percent"]
    # Sizes of memory and experts decide these counts, so nothing excuses a difference.
    lines = [_line(cell, near(cell.published, 0.0, "equal")) for cell in counts]
    words = f"within {HIT_RATE_POINTS:g} points"
    lines += [_line(cell, near(cell.published, HIT_RATE_POINTS, words)) for cell in rates]
    if not has_popularity:
        skipped = "skipped: needs a file of measured popularity, none was given"
        lines.append(
            SummaryLine(
                name="Fiddler: hit rates",
                target=words,
                found=skipped,
                is_met=None,
            )
        )
    return lines


def _headline(cell: Cell) -> SummaryLine:
    """Return a ratio with the range of all readings, and the verdict.

    The line has no target, because readings are assumed.
    """
    low, high = reach(cell)
    found = f"{_pair(cell)}; readings {low:.2f} to {high:.2f}: {reading_verdict(cell)}"
    return untargeted(cell.system, found)


def _step(name: str, table: Table, step: float, expected: int) -> SummaryLine:
    """Return the number of copies from which experts go to the GPU.

    The number is the first that takes more than ``step`` times as long as the number before it.
    """
    pairs = zip(table.cells, table.cells[1:], strict=False)
    jumps = (after for before, after in pairs if after.simulated > step * before.simulated)
    jump = next(jumps, None)
    copies = 0 if jump is None else num_copies(jump.system)
    words = f"{copies} copies" if copies else "at no number of copies"
    target = near(expected, 0.0, f"{expected} copies")
    return target.line(f"{name}: where they go to the GPU", words, copies)


def _line(cell: Cell, target: Target) -> SummaryLine:
    kind = "hit rate" if cell.unit == "%" else "experts on the GPU"
    return target.line(f"{cell.system}, {cell.environment}: {kind}", _pair(cell), cell.simulated)


def _pair(cell: Cell) -> str:
    return f"{cell.simulated:.4g} {cell.unit}, published {cell.published:g}"
