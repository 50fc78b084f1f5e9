"""Every command that writes a file: a failure leaves the file that stood there, and a place that
cannot be written is refused first.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hwprofiles import InputError
from hwprofiles.text_file import check_folder, check_target, whole_file, write_bytes
from rosin.__main__ import main
from tests.tiny_config import TINY_CONFIG

KEPT = b"what stood there before"
MISSING = "missing.yaml"

FILES: Mapping[str, tuple[str, ...]] = {
    "models import": ("models", "import", "config.json", "-o", "TARGET.yaml"),
    "models json": ("models", "missing.yaml", "--json", "TARGET"),
    "machines json": ("machines", MISSING, "--json", "TARGET"),
    "policies json": ("policies", "nobody", "--json", "TARGET"),
    "export": ("export", MISSING, "--to", "vllm", "-o", "TARGET"),
    "routing import": ("routing", "import", "missing.csv", "-o", "TARGET.npz"),
    "routing fit": ("routing", "fit", "missing.csv", "-o", "TARGET.yaml"),
    "routing fit figure": (
        "routing",
        "fit",
        "missing.csv",
        "-o",
        "out.yaml",
        "--figure",
        "TARGET.png",
    ),
    "routing stats figure": ("routing", "stats", "missing.npz", "--figure", "TARGET.svg"),
    "routing stats json": ("routing", "stats", "missing.npz", "--json", "TARGET"),
    "simulate trace": ("simulate", "--plan", MISSING, "--trace", "TARGET.json"),
    "simulate json": ("simulate", "--plan", MISSING, "--json", "TARGET"),
    "compare figure": ("compare", "--plan", MISSING, "--figure", "TARGET.pdf"),
    "plan": ("plan", "--plan", MISSING, "-o", "TARGET.yaml"),
    "kv-replay figure": (
        "kv-replay",
        "missing.jsonl",
        "--bytes-per-token",
        "1",
        "--figure",
        "TARGET.png",
    ),
    "kv-plan": (
        "kv-plan",
        "--model",
        MISSING,
        "--machine",
        "h100",
        "--workload",
        "missing.jsonl",
        "-o",
        "TARGET.yaml",
    ),
    "kv-plan tiers": (
        "kv-plan",
        "--model",
        MISSING,
        "--machine",
        "h100",
        "--workload",
        "missing.jsonl",
        "--kv-file",
        "TARGET.yaml",
    ),
    "calibrate": ("calibrate", MISSING, "--machine", "h100", "-o", "TARGET.yaml"),
    "measure": ("measure", "-o", "TARGET.yaml", "--device", "abacus"),
    "reproduce json": ("reproduce", "nobody", "--json", "TARGET"),
}
"""Commands that write a file, each with an input that fails."""

REFUSED_FIRST = [
    name for name in FILES if name not in {"kv-plan", "kv-plan tiers", "simulate json"}
]
"""Those that look at the place before they read anything; the others do so before any search or
run.
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text(
        json.dumps(dict(TINY_CONFIG) | {"model_type": "nobodys"}), encoding="utf-8"
    )


def _arguments(name: str, target: str) -> tuple[list[str], Path]:
    """The command with that target, and the target's file."""
    arguments = [word.replace("TARGET", target) for word in FILES[name]]
    return arguments, Path(next(word for word in arguments if word.startswith(target)))


@pytest.mark.parametrize("name", FILES)
def test_failure_leaves_the_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The target keeps its bytes, no other file appears, and the one line blames the input."""
    arguments, target = _arguments(name, "kept")
    target.write_bytes(KEPT)
    before = sorted(os.listdir())
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(target) not in error
    assert target.read_bytes() == KEPT
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("name", REFUSED_FIRST)
@pytest.mark.parametrize("place", ["folder", "nowhere/kept"])
def test_place_is_looked_at_first(
    name: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, and a file in no folder, are refused although the input is wrong too."""
    arguments, target = _arguments(name, place)
    if place == "folder":
        target.mkdir()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert (
        f"cannot write {target}: {'it is a folder' if place == 'folder' else 'no folder nowhere'}"
        in error
    )


@pytest.mark.parametrize("name", ["reproduce", "validate", "whatif"])
def test_folder_is_looked_at_first(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where a folder is due is refused, and stays."""
    Path("taken").write_bytes(KEPT)
    study = (
        "--model",
        "granite-3-1b-a400m",
        "--machine",
        "desktop-rtx-3060-ddr4",
        "--vary",
        "batch=1,2",
    )
    commands = {
        "reproduce": ("reproduce", "fiddler"),
        "validate": ("validate", MISSING),
        "whatif": ("whatif", *study),
    }
    assert main([*commands[name], "-o", "taken"]) == 2
    assert "cannot write to taken: " in capsys.readouterr().err
    assert Path("taken").read_bytes() == KEPT


def test_import_that_fails_names_its_input(capsys: pytest.CaptureFixture[str]) -> None:
    """A second import into the same file, of a family that nobody knows, leaves the first."""
    Path("good.json").write_text(json.dumps(dict(TINY_CONFIG)), encoding="utf-8")
    assert main(["models", "import", "good.json", "-o", "out.yaml", "--quiet"]) == 0
    before = Path("out.yaml").read_bytes()
    assert main(["models", "import", "config.json", "-o", "out.yaml", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "config.json" in error
    assert "out.yaml" not in error
    assert Path("out.yaml").read_bytes() == before
    assert main(["models", "out.yaml", "--quiet"]) == 0


def test_writer_that_fails_halfway() -> None:
    """The target keeps its bytes, and the temporary file is gone."""
    Path("out").write_bytes(KEPT)
    with pytest.raises(ZeroDivisionError), whole_file(Path("out")) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert Path("out").read_bytes() == KEPT
    assert sorted(os.listdir()) == ["config.json", "out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from hwprofiles.text_file import whole_file
with whole_file(Path("out")) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_writers_left_is_swept() -> None:
    """The next writer of the same file removes it; what a running writer or another file has stays."""
    Path("out").write_bytes(KEPT)
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-c", KILLED], check=False, env=os.environ | {"PYTHONPATH": str(root)}
    )
    left = [name for name in os.listdir() if name.endswith(".part")]
    assert len(left) == 1
    others = [f".out.{os.getppid()}.part", ".other.999999999.part", ".out.part", ".out.1x.part"]
    for name in others:
        Path(name).write_bytes(b"")
    assert Path("out").read_bytes() == KEPT
    write_bytes(b"new", Path("out"))
    assert Path("out").read_bytes() == b"new"
    assert sorted(os.listdir()) == sorted(["config.json", "out", *others])


def test_links_and_devices() -> None:
    """A link's target is replaced, a device is written to, and neither becomes a file."""
    Path("real").write_bytes(KEPT)
    Path("link").symlink_to("real")
    write_bytes(b"new", Path("link"))
    assert Path("link").is_symlink()
    assert Path("real").read_bytes() == b"new"
    write_bytes(b"gone", Path("/dev/null"))
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("name", ["x" * 3000, "a\0b", "loop", "config.json/out"])
def test_names_that_cannot_be(name: str) -> None:
    """A name that no file can have is one line, too."""
    Path("loop").symlink_to("loop")
    with pytest.raises(InputError, match="cannot write"):
        check_target(Path(name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_places_that_may_not_be_written() -> None:
    """A folder and a file without the right to write are refused."""
    Path("closed").mkdir(mode=0o555)
    Path("fixed").touch(mode=0o444)
    for path in (Path("closed/out"), Path("fixed")):
        with pytest.raises(InputError, match="may not be written"):
            check_target(path)
    with pytest.raises(InputError, match="may not be written"):
        check_folder(Path("closed/new"))
