"""The pages on machines found later are what the command makes of the rows beside the code."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median

import pytest

from hwprofiles import load_machine
from rosin.commands.accuracy.document import accuracy_document
from rosin.commands.accuracy.page import group_cells
from sim.runtimes.host import RuntimeHost
from sim.runtimes.machine_host import SEEN_CORES_PER_SOCKET, runtime_host
from validation.accuracy import AccuracyResult, PointAccuracy, RowAccuracy, compare, read_rows

ROOT = Path(__file__).parents[3]
ROWS = ROOT / "benchmarks" / "later_rows.csv"
DOCUMENT = ROOT / "docs" / "accuracy-later" / "accuracy.md"
PAGE = ROOT / "docs" / "explanation" / "later-machines.md"
FAR = 0.4
PHASES = ("decode", "prefill")


@cache
def _host(line: str) -> RuntimeHost:
    return runtime_host(load_machine(line))


@pytest.fixture(scope="module")
def result() -> AccuracyResult:
    """The later rows, predicted with the constants that ship."""
    return compare(read_rows(ROWS), _host, leave_one_rig_out=False)


def test_document_is_current(result: AccuracyResult) -> None:
    """No figure moves without the page."""
    assert accuracy_document(result) == DOCUMENT.read_text(encoding="utf-8")


def test_page_has_the_same_totals(result: AccuracyResult) -> None:
    """The lines of now are those of all rows."""
    page = PAGE.read_text(encoding="utf-8")
    totals = [item for item in result.summary if item.group == "all rows"]
    assert [item.phase for item in totals] == ["decode", "prefill"]
    for item in totals:
        assert f"| {item.phase}, now | {' | '.join(group_cells(item))} |" in page


def test_ranges_hold_for_about_half(result: AccuracyResult) -> None:
    """As `rosin simulate --runtime` says under each prediction."""
    for item in result.summary:
        if item.group == "all rows":
            assert 0.4 < item.coverage_fraction < 0.6
    assert result.coverage_fraction == 0.8


def test_page_tells_sockets_apart(result: AccuracyResult) -> None:
    """Errors and coverage by the cores and the number of sockets of a machine."""
    page = PAGE.read_text(encoding="utf-8")
    lines = {row.id: row.machine for row in read_rows(ROWS)}
    kinds: dict[str, list[RowAccuracy]] = {}
    for row in result.rows:
        if row.reason is None:
            kinds.setdefault(_kind(_host(lines[row.id])), []).append(row)
    assert len(kinds) == 3
    for kind, rows in kinds.items():
        cells = [cell for phase in PHASES for cell in _error_and_coverage(rows, phase)]
        assert f"| {kind} | {' | '.join(cells)} |" in page


def _kind(host: RuntimeHost) -> str:
    if host.cores_per_socket > SEEN_CORES_PER_SOCKET:
        return "more than 64 cores a socket"
    return "one socket of up to 64" if host.sockets == 1 else "several sockets of up to 64"


def _error_and_coverage(rows: Sequence[RowAccuracy], phase: str) -> tuple[str, str]:
    points = _points(rows, phase)
    held = [
        point.low_tokens_per_s <= point.measured_tokens_per_s <= point.high_tokens_per_s
        for point in points
    ]
    return f"{100 * median(_error(point) for point in points):.1f} %", f"{100 * mean(held):.0f} %"


def test_page_counts_the_rows_that_are_far_off(result: AccuracyResult) -> None:
    """Every machine with a row off by more than 40 % has its line, and no other has."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    told = {
        " | ".join(line.split(" | ")[:3])
        for line in lines
        if line.startswith("| `") and " of " in "".join(line.split(" | ")[1:3])
    }
    assert told == set(_lines_of_far_rows(result))


def _lines_of_far_rows(result: AccuracyResult) -> Iterator[str]:
    for rig in dict.fromkeys(row.rig for row in result.rows):
        own = [row for row in result.rows if row.rig == rig]
        errors = [[_error(point) for point in _points(own, phase)] for phase in PHASES]
        far = [sum(error > FAR for error in each) for each in errors]
        if any(far):
            counts = zip(far, errors, strict=True)
            cells = [f"{count} of {len(each)}" if each else "–" for count, each in counts]
            yield f"| `{rig}` | {cells[0]} | {cells[1]}"


def _points(rows: Sequence[RowAccuracy], phase: str) -> list[PointAccuracy]:
    """What was predicted of a phase, where it was measured."""
    found = [getattr(row, phase) for row in rows]
    return [point for point in found if point is not None]


def _error(point: PointAccuracy) -> float:
    """The relative error of a prediction, without its sign."""
    return abs(point.predicted_tokens_per_s / point.measured_tokens_per_s - 1)
