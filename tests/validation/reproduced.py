"""Papers' tables for tests: each is simulated once a process, however many tests look at it."""

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from validation.published.library import REPRODUCTIONS
from validation.published.reproduction import Reproduction

# By its full name, because the package has a function of the same one.
OVERVIEW = importlib.import_module("validation.published.overview")
KEPT = {name: cache(reproduction) for name, reproduction in REPRODUCTIONS.items()}
BRIEF_FMOE = cache(OVERVIEW.reproduce_fmoe)
Reproduce = Callable[[int, Path | None], Reproduction]


@pytest.fixture
def papers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reproduces a paper with a seed and a file that another test had gets what it got."""
    for name, kept in KEPT.items():
        monkeypatch.setitem(cast(dict[str, Reproduce], REPRODUCTIONS), name, kept)
    monkeypatch.setattr(OVERVIEW, "reproduce_fmoe", BRIEF_FMOE)
