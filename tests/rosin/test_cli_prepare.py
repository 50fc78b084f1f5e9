"""`rosin prepare`: what it keeps beside compiled kernels."""

import importlib
from pathlib import Path

import pytest

from rosin.cli import prepare


def test_bytecode_is_kept_where_python_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module of a package has its bytecode afterwards, those of its folders too, even where Python is told to write none."""
    folder = tmp_path / "smallpackage" / "inside"
    folder.mkdir(parents=True)
    for path in (folder.parent / "__init__.py", folder / "__init__.py", folder / "part.py"):
        path.write_text("ANSWER = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setattr(prepare, "PACKAGES", ("smallpackage",))
    assert importlib.import_module("smallpackage.inside.part").ANSWER == 42
    assert not list(tmp_path.rglob("*.pyc"))
    prepare._keep_bytecode()
    assert len(list(tmp_path.rglob("*.pyc"))) == 3
