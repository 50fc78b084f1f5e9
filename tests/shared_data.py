"""Real traces for tests: at ../shared/data beside the repository, never in it."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(relative_path: str) -> Path:
    """The path of a file of the shared data; skips the test, saying what is missing, where it is
    absent.
    """
    path = FOLDER / relative_path
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{relative_path}, which is not part of the repository")
    return path
