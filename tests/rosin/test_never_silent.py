"""Every command that may last shows a line while it works."""

from typing import Any

import pytest

from rosin.__main__ import main
from rosin.cli.output import Output
from rosin.cli.progress_line import ProgressLine
from rosin.cli.waiting import Waiting

RUN = (
    *("--model", "granite-3-1b-a400m", "--machine", "desktop-rtx-3060-ddr4"),
    *("--prompt-tokens", "8", "--output-tokens", "4"),
)
SERVED = ("--model", "llama-3.1-8b", "--machine", "h100")
TRACE = "lmbenchmark-long-in-short-out"
COMMANDS = (
    ("simulate", *RUN, "--policy", "fiddler"),
    ("simulate", *SERVED, "--workload", TRACE, "--requests", "60"),
    ("plan", *RUN),
    ("compare", *RUN, "--policies", "fiddler,lru"),
    ("whatif", *RUN, "--vary", "seed=1,2", "--workers", "1", "-o", "study"),
    ("caches", "--models", "gpt-oss-20b", "--tokens", "200"),
    ("kv-replay", TRACE, "--model", "llama-3.1-8b", "--requests", "60"),
    ("kv-plan", *SERVED, "--workload", TRACE, "--requests", "60", "--kv-tier", "cpu=100GB"),
    ("routing", "stats", "uniform", "--model", "granite-3-1b-a400m"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_line_is_shown(
    command: tuple[str, ...],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where somebody watches, a line is there before the answer. Both kinds of line move by
    themselves.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Output, "is_watched", property(lambda output: True))
    shown: list[str] = []
    monkeypatch.setattr(ProgressLine, "show", lambda line, text: shown.append(text))
    monkeypatch.setattr(Waiting, "__enter__", lambda line: shown.append(line._doing) or line)
    assert main(command) == 0
    assert shown
    assert all(shown)
