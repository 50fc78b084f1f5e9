"""Generated GGUF headers: each imports with the totals of an independent count, or is refused in
one line.

By hand, for many more: ``python -m tests.sim.test_gguf_fuzz 50000``.
"""

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.model.importers import GgufImport, import_gguf
from tests.sim.gguf_files import MadeFile, broken_file, mangled, random_file
from tests.sim.model_files import check_file

NUM_FILES = 1500
"""In CI: some seconds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("gguf")


@given(seed=st.integers(0, 10**9))
@settings(max_examples=NUM_FILES // 3)
def test_right_files_import_with_their_totals(seed: int, folder: Path) -> None:
    """Weights and bytes of every right file are those of its table, and its model survives its
    file.
    """
    path = folder / "made.gguf"
    made = random_file(random.Random(seed))
    path.write_bytes(made.content())
    found = import_gguf(path)
    _check_totals(found, made)
    if seed % 25 == 0:
        check_file(found.model, folder)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=NUM_FILES // 2)
def test_wrong_files_import_rightly_or_are_refused_in_one_line(seed: int, folder: Path) -> None:
    """One thing changed, bytes changed or cut: never another error, and the file is as it was."""
    assert run(1, folder, seed).total() == 1


def test_of_wrong_files_some_import_and_some_are_refused(folder: Path) -> None:
    """So that the properties above are not of one kind alone."""
    counts = run(NUM_FILES // 2, folder)
    assert counts["refused"] > NUM_FILES / 8 and counts["imported"] > NUM_FILES / 40


def run(count: int, folder: Path, first_seed: int = 0) -> Counter[str]:
    """Import that many generated files; returns how many were imported and refused.

    Raises AssertionError for anything else.
    """
    path, counts = folder / "made.gguf", Counter[str]()
    for seed in range(first_seed, first_seed + count):
        generator = random.Random(f"wrong {seed}")
        made = broken_file(generator) if seed % 2 else random_file(generator)
        is_mangled = seed % 4 == 2
        content = mangled(generator, made.content()) if is_mangled else made.content()
        path.write_bytes(content)
        counts[_outcome(path, None if is_mangled else made, seed)] += 1
        assert path.read_bytes() == content, f"seed {seed}: the file was changed"
    return counts


def _outcome(path: Path, made: MadeFile | None, seed: int) -> str:
    try:
        found = import_gguf(path)
    except InputError as error:
        message = str(error)
        assert message.isprintable() and len(message) < 600, (
            f"seed {seed}: {message!r} is not one short line"
        )
        return "refused"
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    if made is not None:
        _check_totals(found, made)
    return "imported"


def _check_totals(found: GgufImport, made: MadeFile) -> None:
    ignored_params = sum(part.params for part in found.ignored)
    ignored_bytes = sum(part.bytes for part in found.ignored)
    stated = made.rows[: made.num_tensors]
    num_weights = 0
    for row in stated:
        count = 1
        for size in row.shape:
            count *= size
        num_weights += count
    assert found.model.total_params + ignored_params == num_weights
    assert found.model.total_bytes + ignored_bytes == sum(row.num_bytes for row in stated)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder_name:
        print(dict(run(int(sys.argv[1]), Path(folder_name))))
