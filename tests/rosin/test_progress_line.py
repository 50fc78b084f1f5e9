"""The line that says how far something is, and by itself that it is at work."""

import time

import pytest

from rosin.cli.progress_line import CLEAR, MAX_CHARACTERS, ProgressLine


def test_a_line_counts_the_seconds_since_it_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However long a step lasts, the line says so, and never grows wider than a terminal."""
    # Here it ticks only where the test says so.
    monkeypatch.setattr("rosin.cli.progress_line.TICK_S", 1_000.0)
    seconds = iter([10.0, 13.0, 20.0, 21.0])
    line = ProgressLine(is_shown=True, clock=lambda: next(seconds))
    line.show("4 draws")
    line.tick()
    assert capsys.readouterr().err == f"{CLEAR}4 draws{CLEAR}4 draws (3 s)"
    line.show("x" * 200)
    line.tick()
    shown = capsys.readouterr().err.split(CLEAR)[1:]
    assert [len(each) for each in shown] == [MAX_CHARACTERS, MAX_CHARACTERS]
    assert shown[1].endswith("x (1 s)")
    line.close()
    line.show("late")
    line.tick()
    assert capsys.readouterr().err == CLEAR


def test_it_ticks_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has to ask: while the command computes, the line is written again and again."""
    monkeypatch.setattr("rosin.cli.progress_line.TICK_S", 0.01)
    line = ProgressLine(is_shown=True)
    line.show("bounds")
    shown = ""
    until_s = time.monotonic() + 10.0
    while shown.count("bounds (") < 2 and time.monotonic() < until_s:
        time.sleep(0.01)
        shown += capsys.readouterr().err
    line.close()
    assert shown.count("bounds (") >= 2


def test_it_is_silent_where_nobody_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written to what is no terminal."""
    line = ProgressLine(is_shown=False)
    line.show("4 draws")
    line.close()
    assert capsys.readouterr().err == ""
