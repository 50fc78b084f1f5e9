"""Claims of the papers, the simulated figures for each claim, and verdicts."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from statistics import mean

from validation.published.reproduction import Cell, Reproduction

CONFIRMED_ERROR_FRACTION = 0.15
"""Largest error of a headline's default reading if the headline is to be confirmed."""

LEAST_ERROR_FRACTION = 0.0005
"""Figures that are nearer than this are equal to all digits that are printed."""

PUBLISHED_DIGITS = 6


class Verdict(StrEnum):
    """The simulator's verdict on a claim.

    ``CONFIRMED``: within its limit; if a headline has several readings, the published figure also
    lies among them. ``OPEN``: the claim depends on a named fact that the sources do not give.
    ``REFUTED``: no documented reading gives the claim, and arithmetic says what would have to hold.
    """

    CONFIRMED = "confirmed"
    OPEN = "open"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A claim as ``claims.csv`` states it.

    ``table``, ``environment``, ``system`` and ``quantity`` pick cells; an empty one picks all.
    ``line`` names a line of the summary that decides.

    ``rule`` says what confirms the claim. ``readings``: the range of readings contains it, and the
    default is within 15 %. ``mean`` or ``worst``: the error of the cells is within
    ``limit_fraction``. ``line``: that line. ``otherwise`` is the verdict if the rule fails, and
    ``because`` the missing fact, or the arithmetic.
    """

    key: str
    paper: str
    figure: str
    table: str
    environment: str
    system: str
    quantity: str
    line: str
    rule: str
    limit_fraction: float
    otherwise: Verdict
    is_headline: bool
    assumed: str
    because: str

    def picks(self, cell: Cell) -> bool:
        """Whether the rule is about this cell of its table."""
        wanted = ((self.environment, cell.environment), (self.system, cell.system))
        is_there = all(want in ("", found) for want, found in wanted)
        return is_there and self.quantity in ("", cell.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim with its simulated figures and its verdict.

    ``published`` and ``simulated`` are in words. ``value`` is the figure that is kept and compared.
    This figure is the simulated one, the mean error of several cells, or 1 or 0 for an order that
    is met or not. ``off_fraction`` is the larger of both figures over the smaller, less 1; it is
    None without a number.
    """

    key: str
    paper: str
    figure: str
    published: str
    simulated: str
    value: float
    off_fraction: float | None
    verdict: Verdict
    is_headline: bool
    assumed: str
    because: str


def statements() -> tuple[Statement, ...]:
    """Return all claims of ``claims.csv``."""
    text = (resources.files("validation.published") / "claims.csv").read_text(encoding="utf-8")
    return tuple(_statement(fields) for fields in csv.DictReader(text.splitlines()))


def claims_of(reproduction: Reproduction) -> tuple[Claim, ...]:
    """Return the claims of a reproduction's papers; claims whose cells were skipped are left
    out.
    """
    own = [each for each in statements() if each.key.startswith(f"{reproduction.name}:")]
    found = ((each, _cells(each, reproduction)) for each in own)
    return tuple(_claim(each, cells, reproduction) for each, cells in found if cells is not None)


def sorted_claims(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims sorted, those that are off the farthest first.

    Claims without a number come last, those that are missed first.
    """

    def place(claim: Claim) -> tuple[bool, bool, float]:
        """Sort claims with numbers first, then unconfirmed ones, then those that are off the
        farthest.
        """
        has_none = claim.off_fraction is None
        is_met = has_none and claim.verdict is Verdict.CONFIRMED
        return has_none, is_met, -(claim.off_fraction or 0.0)

    return sorted(claims, key=place)


def _statement(fields: dict[str, str]) -> Statement:
    limit = float(fields["limit_fraction"] or CONFIRMED_ERROR_FRACTION)
    known = {
        "limit_fraction": limit,
        "otherwise": Verdict(fields["otherwise"]),
        "is_headline": fields["is_headline"] == "yes",
    }
    return Statement(**(fields | known))  # type: ignore[arg-type]


def _cells(statement: Statement, reproduction: Reproduction) -> tuple[Cell, ...] | None:
    """Return the cells that the claim is about.

    A claim of a line alone has an empty tuple; a claim whose cells were skipped has None.
    """
    if not statement.table:
        return ()
    tables = {table.name: table for table in reproduction.tables}
    if statement.table not in tables:
        return None
    return tuple(filter(statement.picks, tables[statement.table].cells)) or None


def _claim(statement: Statement, cells: tuple[Cell, ...], reproduction: Reproduction) -> Claim:
    lines = {line.name: line for line in reproduction.summary}
    line = lines[statement.line] if statement.line else None
    is_met = bool(line.is_met) if line else _is_confirmed(statement, cells)
    verdict = Verdict.CONFIRMED if is_met else _otherwise(statement, cells)
    if cells:
        published, simulated = _words(statement, cells)
        value, off = _figure(cells)
    else:
        assert line is not None, f"{statement.key} names neither cells nor a line"
        published = line.target
        simulated = line.found
        value = float(is_met)
        off = None
    return Claim(
        key=statement.key,
        paper=statement.paper,
        figure=statement.figure,
        published=published,
        simulated=simulated,
        value=value,
        off_fraction=off,
        verdict=verdict,
        is_headline=statement.is_headline,
        assumed=statement.assumed,
        because="" if is_met else statement.because,
    )


def _is_confirmed(statement: Statement, cells: tuple[Cell, ...]) -> bool:
    if statement.rule == "readings":
        verdict = reading_verdict(cells[0], limit_fraction=statement.limit_fraction)
        return verdict is Verdict.CONFIRMED
    errors = [abs(cell.error_fraction) for cell in _scored(cells)]
    found = mean(errors) if statement.rule == "mean" else max(errors)
    return found <= statement.limit_fraction


def _otherwise(statement: Statement, cells: tuple[Cell, ...]) -> Verdict:
    """Return the verdict on a claim that its rule does not confirm.

    A headline that some documented reading gives is open, whatever the arithmetic says.
    """
    if statement.rule != "readings":
        return statement.otherwise
    return reading_verdict(cells[0], statement.otherwise, statement.limit_fraction)


def _scored(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    # A claim about cells that are left out of the mean is still about them.
    return tuple(cell for cell in cells if cell.is_scored) or cells


def reach(cell: Cell) -> tuple[float, float]:
    """Return the least and the most that any reading of a cell gives."""
    values = [cell.simulated, *cell.comparisons.values()]
    return min(values), max(values)


def reading_verdict(
    cell: Cell,
    otherwise: Verdict = Verdict.REFUTED,
    limit_fraction: float = CONFIRMED_ERROR_FRACTION,
) -> Verdict:
    """Return the verdict of readings on a ratio.

    A ratio is confirmed if it lies among the readings and the first is near, and open if it only
    lies among them. Else the verdict is ``otherwise``.
    """
    if not _is_within(cell):
        return otherwise
    is_near = abs(cell.error_fraction) <= limit_fraction
    return Verdict.CONFIRMED if is_near else Verdict.OPEN


def _is_within(cell: Cell) -> bool:
    low, high = reach(cell)
    return low <= cell.published <= high


def _figure(cells: tuple[Cell, ...]) -> tuple[float, float]:
    if len(cells) == 1:
        found = cells[0].simulated
        published = cells[0].published
        # Twice as fast is as far off as half as fast.
        return found, max(found / published, published / found) - 1.0
    error = mean(abs(cell.error_fraction) for cell in _scored(cells))
    return error, error


def _words(statement: Statement, cells: tuple[Cell, ...]) -> tuple[str, str]:
    unit = cells[0].unit
    if len(cells) == 1:
        found = f"{_number(cells[0].simulated)} {unit}"
        if statement.rule == "readings":
            low, high = reach(cells[0])
            found += f" ({_number(low)} to {_number(high)})"
        return f"{_number(cells[0].published, PUBLISHED_DIGITS)} {unit}", found
    scored = _scored(cells)
    values = [cell.published for cell in scored]
    worst = max((cell.error_fraction for cell in scored), key=abs)
    published = f"{len(scored)} cells, {_number(min(values))} to {_number(max(values))} {unit}"
    if abs(worst) < LEAST_ERROR_FRACTION:
        return published, "equal"
    # A worst error below 1 % would read "-0%".
    worst_words = f"{worst:+.0%}" if abs(worst) >= 0.01 else f"{worst:+.1%}"
    return published, f"off by {_figure(cells)[0]:.1%} on average, {worst_words} at worst"


def _number(value: float, digits: int = 3) -> str:
    """A number with so many digits that count, and commas between thousands."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"
