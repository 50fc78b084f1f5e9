"""The line that says how far a command is."""

import io

from rich.console import Console

from rosin.cli.output import Output
from rosin.cli.waiting import Waiting


def _shown(total: float | None, *, is_shown: bool = True) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80)
    with Waiting("comparing", total, is_shown=is_shown, console=console) as waiting:
        waiting.step("fiddler")
        waiting.step("a policy whose name is so long that it would not fit the line at all")
    return text.getvalue()


def test_a_line_says_what_is_done_and_how_long_it_takes() -> None:
    """With a number of steps it has a bar and the time left, without one the time so far."""
    assert "a policy whose name is so long that it …" in _shown(4.0)
    assert "left" in _shown(4.0)
    assert "0:00:0" in _shown(None)


def test_nothing_is_shown_where_nobody_waits() -> None:
    """Nothing is written with --quiet, nor where stderr is no terminal."""
    assert _shown(4.0, is_shown=False) == ""
    with Output(json=None, seed=0, quiet=True).waiting("comparing", 2.0) as waiting:
        waiting.step("fiddler")
    assert waiting._progress is None
