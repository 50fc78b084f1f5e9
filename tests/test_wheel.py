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

from sim.engine import shipped_code
from tests.source_tree import PACKAGES, ROOT

SHIPPED_SUFFIXES = {".py", ".yaml", ".csv", ".typed", ".html", ".css", ".js"}
TIMEOUT_S = 900
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that nothing is left in the repository."""
    return _built(tmp_path_factory)


@pytest.fixture(scope="module")
def wheel_with_kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that brings compiled kernels along."""
    return _built(tmp_path_factory, ROSIN_KERNELS="1")


def _built(factory: pytest.TempPathFactory, **environment: str) -> Path:
    pytest.importorskip(
        "setuptools",
        minversion="77",
        reason="building needs setuptools >= 77, which the extra `test` installs",
    )
    source, built = factory.mktemp("source"), factory.mktemp("built")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "setup.py"):
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
        **environment,
    )
    return next(built.glob("rosin-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel and, lent by the one that runs the tests,
    its dependencies.
    """
    return _installed(wheel, tmp_path_factory)


@pytest.fixture(scope="module")
def installed_with_kernels(
    wheel_with_kernels: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bin folder of an environment whose wheel brought kernels along."""
    return _installed(wheel_with_kernels, tmp_path_factory)


def _installed(wheel: Path, factory: pytest.TempPathFactory) -> Path:
    home = factory.mktemp("environment")
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
        ("models", ROOT / "sim" / "model" / "models"),
    ):
        listed = json.loads(
            _run(str(installed / "rosin"), command, "--json", "-", folder=tmp_path)
        )[command]
        assert listed
        assert {item["name"] for item in listed} == {path.stem for path in folder.glob("*.yaml")}


PLANNED = ("--model", "mixtral-8x7b", "--machine", "desktop-rtx-4090-ddr5", "--quiet")


@pytest.mark.skipif(shipped_code.missing_features() != (), reason="needs an x86-64-v3 processor")
@pytest.mark.parametrize("processor", ["", "znver3"])
def test_a_wheel_with_kernels_compiles_nothing(
    installed_with_kernels: Path, tmp_path: Path, processor: str
) -> None:
    """A user with an empty home plans and simulates without a new kernel, on this processor and
    where numba takes it for another.
    """
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    own |= {"NUMBA_CPU_NAME": processor} if processor else {}
    rosin = str(installed_with_kernels / "rosin")
    _run(rosin, "plan", *PLANNED, folder=tmp_path, **own)
    for words in (("--policy", "hybrimoe"), ("--policy", "lru", "--engine", "reference")):
        _run(rosin, "simulate", *words, *PLANNED, "--output-tokens", "4", folder=tmp_path, **own)
    places = (tmp_path, installed_with_kernels.parent)
    found = [path for place in places for path in place.rglob("*.nb[ci]")]
    assert len(found) > 80
    assert [path for path in found if "shipped" not in path.parts] == []


def _run(*command: str, folder: Path, **changed: str) -> str:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in {"PYTHONPATH", "PYTHONHOME", "NUMBA_CACHE_DIR"}
    } | changed
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
