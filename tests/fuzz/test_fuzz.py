"""A share of the fuzzing that ``make fuzz`` does: fixed seed, every format."""

from pathlib import Path

import pytest

from tests.fuzz.format import Format
from tests.fuzz.formats import formats
from tests.fuzz.harness import fuzz

NUM_INPUTS = 1000
"""Of each format: all together take less than a minute of a quiet core. ``make fuzz`` runs more."""
FORMATS = formats()


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_seeds_are_read(each: Format, tmp_path: Path) -> None:
    """The files that mutants are made of are good ones, or mutants would show nothing."""
    for seed in each.seeds:
        path = tmp_path / f"file{each.suffix}"
        path.write_bytes(seed)
        each.read(path)


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_mutants(each: Format, tmp_path: Path) -> None:
    """Every mutant is read, or refused in one line that names the file; nothing hangs or takes much
    memory.
    """
    report = fuzz([each], range(NUM_INPUTS), 0, tmp_path)
    assert report.faults == []
    assert report.num_refused[each.name] > 0
