"""The guard of this computer's memory: refused in one line before anything is simulated."""

import pytest

from planner.search.search import free_memory
from rosin.__main__ import main

WORK = (
    "--model",
    "qwen3-30b-a3b",
    "--machine",
    "desktop-rtx-4090-ddr5",
    "--prompt-tokens",
    "16",
    "--output-tokens",
    "4000",
)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("simulate", "--policy", "lru"), "simulating lru here may take"),
        (("compare", "--policies", "fiddler,lru"), "may take"),
        (("plan",), "may take"),
        (("whatif", "--vary", "seed=1,2", "-o", "study"), "may take"),
    ],
)
def test_what_does_not_fit_is_refused(
    command: tuple[str, ...],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, with how much it takes, how much is free, and what to lower."""
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 200 * 2**20)
    assert main([command[0], *WORK, *command[1:]]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert what in err
    assert "are free on this computer; lower --batch" in err
