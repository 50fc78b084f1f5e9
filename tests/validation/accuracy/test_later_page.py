"""The pages on machines found later are what the command makes of the rows beside the code."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from hwprofiles import load_machine
from rosin.commands.accuracy.document import accuracy_document
from rosin.commands.accuracy.page import group_cells
from sim.runtimes.host import RuntimeHost
from sim.runtimes.machine_host import runtime_host
from validation.accuracy import AccuracyResult, compare, read_rows

ROOT = Path(__file__).parents[3]
ROWS = ROOT / "benchmarks" / "later_rows.csv"
DOCUMENT = ROOT / "docs" / "accuracy-later" / "accuracy.md"
PAGE = ROOT / "docs" / "explanation" / "later-machines.md"
FAR = 0.4


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
        counts = [_count(result, rig, phase) for phase in ("decode", "prefill")]
        if any(far for far, _ in counts):
            cells = [f"{far} of {total}" if total else "–" for far, total in counts]
            yield f"| `{rig}` | {cells[0]} | {cells[1]}"


def _count(result: AccuracyResult, rig: str, phase: str) -> tuple[int, int]:
    """Rows of a machine that are far off, and all of them."""
    found = [getattr(row, phase) for row in result.rows if row.rig == rig]
    known = [point for point in found if point is not None]
    errors = [
        abs(point.predicted_tokens_per_s / point.measured_tokens_per_s - 1) for point in known
    ]
    return sum(error > FAR for error in errors), len(known)
