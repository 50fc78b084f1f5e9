"""The suite in two processes: nothing is left out, nothing runs twice, and no failure is lost."""

import sys

import pytest

from tests import two_processes
from tests.source_tree import ROOT


def test_the_second_runs_what_the_first_does_not() -> None:
    """What the first names exists, and the second ignores just that."""
    first, second = two_processes.commands("-q")
    common = len(first) - len(two_processes.FIRST)
    assert first[:common] == second[:common]
    assert first[common:] == [*two_processes.FIRST]
    assert second[common:] == [f"--ignore={path}" for path in two_processes.FIRST]
    assert all((ROOT / path).exists() for path in two_processes.FIRST)


@pytest.mark.parametrize("num_cores", [1, 2])
@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((1, 0), 1), ((0, 5), 1)])
def test_no_failure_is_lost(
    codes: tuple[int, int],
    expected: int,
    num_cores: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Either's failure is that of the whole; what both printed is there, the first's first."""
    first, second = (
        [sys.executable, "-c", f"print('{name}'); raise SystemExit({code})"]
        for name, code in zip(("one", "other"), codes, strict=True)
    )
    monkeypatch.setattr(two_processes, "commands", lambda: (first, second))
    monkeypatch.setattr(two_processes, "_num_cores", lambda: num_cores)
    monkeypatch.setattr(sys, "argv", ["two_processes"])
    assert two_processes.main() == expected
    assert capfd.readouterr().out.split() == ["one", "other"]


def test_a_killed_process_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that a signal ends has a code below zero, which is none of success."""
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    passed = [sys.executable, "-c", ""]
    monkeypatch.setattr(two_processes, "commands", lambda: (passed, killed))
    monkeypatch.setattr(sys, "argv", ["two_processes"])
    assert two_processes.main() == 1
