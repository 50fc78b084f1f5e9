"""Small scenarios for the commands that simulate, and how to run them in this process."""

import json
from typing import Any

import pytest

from rosin.__main__ import main

SMALL = (
    "--model",
    "mixtral-8x7b",
    "--machine",
    "desktop-rtx-4090-ddr5",
    "--prompt-tokens",
    "24",
    "--output-tokens",
    "4",
)
"""Few tokens of a real model, as most tests need."""


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What the command writes with --json -; it must succeed, and write nothing else to stdout."""
    assert main([*arguments, "--json", "-"]) == 0, capsys.readouterr().err
    return json.loads(
        capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"not JSON: {name}")
    )


def text_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints for people; it must succeed, in at most 80 columns."""
    assert main(list(arguments)) == 0, capsys.readouterr().err
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return text
