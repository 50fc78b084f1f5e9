"""docs/accuracy.md is what the command makes of the published rows, and the shipped constants are
its.
"""

from functools import cache
from pathlib import Path

import pytest

from hwprofiles import load_machine
from rosin.commands.accuracy.document import accuracy_document
from sim.runtimes.constants import shipped
from sim.runtimes.host import RuntimeHost
from sim.runtimes.machine_host import runtime_host
from tests.shared_data import shared_data
from validation.accuracy import AccuracyResult, compare, read_rows

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "accuracy.md"
LATER = ROOT / "benchmarks" / "later_rows.csv"


@cache
def _host(line: str) -> RuntimeHost:
    return runtime_host(load_machine(line))


@pytest.fixture(scope="module")
def result() -> AccuracyResult:
    """The published rows and those found later, each machine predicted without its own."""
    rows = [*read_rows(shared_data("runtimes/rows.csv")), *read_rows(LATER)]
    return compare(rows, _host, leave_one_rig_out=True)


@pytest.mark.slow
def test_page_is_current(result: AccuracyResult) -> None:
    """No figure of the page moves without the page."""
    assert accuracy_document(result) == PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_constants_are_those_of_the_rows(result: AccuracyResult) -> None:
    """The constants that ship are those that all rows give, to their printed digits."""
    for name, constant in shipped().constants.items():
        assert constant.value == pytest.approx(result.constants[name], rel=2e-3)


@pytest.mark.slow
def test_rows_of_the_modelled_programs_are_expressed(result: AccuracyResult) -> None:
    """What is not expressed is for want of memory, or of what the program itself leaves open."""
    reasons = {
        row.reason
        for row in result.rows
        if row.reason and row.runtime in ("llama.cpp", "ik_llama.cpp", "ktransformers")
    }
    known = ("neither its memory", "with several GPUs its layers are not known")
    assert all(any(each in reason for each in known) for reason in reasons)
