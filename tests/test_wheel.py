"""The wheel: it holds every module and data file, and what it installs works away from the
repository.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.source_tree import PACKAGES, ROOT

SHIPPED_SUFFIXES = {".py", ".yaml", ".csv", ".typed", ".html", ".css", ".js"}
TIMEOUT_S = 300
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that nothing is left in the repository."""
    pytest.importorskip(
        "setuptools",
        minversion="77",
        reason="building needs setuptools >= 77, which the extra `test` installs",
    )
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(built),
        str(source),
        folder=source,
    )
    return next(built.glob("rosin-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel and, lent by the one that runs the tests,
    its dependencies.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
        folder=home,
    )
    # A folder that a .pth adds has its own .pth files ignored: an editable install of Rosin in it
    # stays invisible.
    site_packages = next((home / "lib").glob("python*/site-packages"))
    (site_packages / "dependencies.pth").write_text(
        sysconfig.get_path("purelib") + "\n", encoding="utf-8"
    )
    return home / "bin"


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Modules, machine files, model files: what is in the source tree is in the wheel."""
    files = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in SHIPPED_SUFFIXES
    }
    expected = {str(path.relative_to(ROOT)) for path in files}
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert expected - inside == set()
    assert {name.partition("/")[0] for name in inside if ".dist-info" not in name} == set(PACKAGES)


def test_commands_work_away_from_the_repository(installed: Path, tmp_path: Path) -> None:
    """Machines and models travel inside the wheel, and are found there and nowhere else."""
    where = _run(
        str(installed / "python"),
        "-c",
        "import hwprofiles; print(hwprofiles.__file__)",
        folder=tmp_path,
    )
    assert Path(where.strip()).is_relative_to(installed.parent)
    for command, folder in (
        ("machines", ROOT / "hwprofiles" / "machines"),
        ("models", ROOT / "sim" / "models"),
    ):
        listed = json.loads(
            _run(str(installed / "rosin"), command, "--json", "-", folder=tmp_path)
        )[command]
        assert listed
        assert {item["name"] for item in listed} == {path.stem for path in folder.glob("*.yaml")}


def _run(*command: str, folder: Path) -> str:
    environment = {
        key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}
    }
    finished = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
