"""A disk that is full: one line, exit code 2, and the file that stood there keeps its bytes."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rosin.__main__ import main

SMALL = ("--model", "granite-3-1b-a400m", "--machine", "desktop-rtx-3060-ddr4")
FEW = ("--prompt-tokens", "4", "--output-tokens", "2", "--policy", "fiddler", "--quiet")
WRITERS = {
    "machine": ("machines", "new", "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800", "-o", "FILE"),
    "models": ("models", "--json", "FILE"),
    "run": ("simulate", *SMALL, *FEW, "--json", "FILE"),
    "trace": ("simulate", *SMALL, *FEW, "--trace", "FILE"),
}
FULL = Path("/dev/full")
MOST_BYTES = 200


@contextmanager
def _files_of_at_most(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond: what a full disk does, seen from a process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which Linux has")
@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"machine", "trace"}))
def test_device_without_room(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The line says that there is no space, and where; others need a name with an ending."""
    assert main([word.replace("FILE", str(FULL)) for word in WRITERS[name]]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "/dev/full" in err
    assert "No space left" in err


@pytest.mark.parametrize("name", WRITERS)
def test_what_stood_there_stays(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Writing ends half-way: the old file is whole, and nothing else is left."""
    path = tmp_path / ("out.json" if name == "trace" else "out.yaml")
    path.write_text("old", encoding="utf-8")
    with _files_of_at_most(MOST_BYTES):
        assert main([word.replace("FILE", str(path)) for word in WRITERS[name]]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(path) in err
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == [path.name]
