"""What every command writes as JSON: the envelope, plain values, whole files."""

import dataclasses
import json
import math
import os
import stat
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hwprofiles import InputError
from rosin import __version__
from rosin.__main__ import main
from rosin.cli.json_output import envelope, plain, write_json
from tests.rosin.command_line import run_rosin, start_rosin
from tests.rosin.scenarios import SMALL

NAMED = {"provenance", "warnings", "seed", "version"}
COMMANDS = [
    ["machines"],
    ["machines", "h100"],
    ["models"],
    ["models", "mixtral-8x7b"],
    ["policies"],
    ["policies", "fiddler"],
    ["simulate", *SMALL, "--policy", "fiddler"],
    ["compare", *SMALL, "--policies", "fiddler,ktransformers"],
]


class _Color(StrEnum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class _Record:
    color: _Color
    path: Path


class _File(BaseModel):
    name: str
    note: str | None = None


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_stdout_is_json_alone(command: list[str], tmp_path: Path) -> None:
    """With --json - stdout is one JSON object in the envelope, and stderr is empty."""
    result = run_rosin(*command, "--json", "-", "--seed", "7", folder=tmp_path)
    assert (result.exit_code, result.err) == (0, "")
    assert result.json.keys() > NAMED
    assert (result.json["seed"], result.json["version"]) == (7, __version__)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_file_holds_what_stdout_would(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file gets the same object, --quiet leaves stdout empty, and no temporary file stays behind."""
    assert main([*command, "--json", str(tmp_path / "out.json"), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*command, "--json", "-"]) == 0
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == json.loads(
        capsys.readouterr().out
    )
    assert os.listdir(tmp_path) == ["out.json"]


def test_stdout_of_any_encoding_gets_valid_json(tmp_path: Path) -> None:
    """A pipe that knows only ASCII still gets every character, escaped."""
    result = start_rosin(
        "machines", "--json", "-", folder=tmp_path, variables={"PYTHONIOENCODING": "ascii"}
    )
    assert result.exit_code == 0
    assert result.json["machines"]
    assert result.out.isascii()


def test_envelope_keeps_the_order() -> None:
    """The payload's keys first, as given, then the shared ones."""
    assert list(envelope({"z": 1, "a": 2}, provenance=None, warnings=["w"], seed=0)) == [
        "z",
        "a",
        "provenance",
        "warnings",
        "seed",
        "version",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(1.5), 1.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.float32("inf"), None),
        (math.nan, None),
        ({_Color.RED: (1, {2})}, {"red": [1, [2]]}),
        (_Record(_Color.RED, Path("a/b")), {"color": "red", "path": "a/b"}),
        (_File(name="x"), {"name": "x"}),
    ],
    ids=repr,
)
def test_plain_values(value: object, expected: object) -> None:
    """Each kind of value has its form in JSON, and what is not finite is null."""
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


def test_what_has_no_form_is_our_bug() -> None:
    """An object that nobody said how to write is an error, not its repr."""
    with pytest.raises(TypeError, match="object has no form in JSON"):
        plain(object())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_plain_survives_a_round_trip(value: object) -> None:
    """Whatever is plain is strict JSON and reads back as it was."""
    once = plain(value)
    assert json.loads(json.dumps(once, allow_nan=False)) == once


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """The old content stays when the new cannot be made, and nothing lies beside it."""
    target = tmp_path / "out.json"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(TypeError):
        write_json({"bad": object()}, str(target))
    assert target.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    """A symbolic link stays one; the file it names changes and keeps to the user's umask."""
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_json({"a": 1}, str(tmp_path / "link.json"))
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text(encoding="utf-8")) == {"a": 1}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "real.json").stat().st_mode) == 0o666 & ~umask


def test_a_device_is_written_to_and_not_replaced() -> None:
    """/dev/null is still a device afterwards."""
    write_json({"a": 1}, os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_an_unwritable_place_is_the_users_mistake(tmp_path: Path) -> None:
    """The message names the file and what is wrong with it."""
    with pytest.raises(InputError, match=r"cannot write .*none/out\.json: no folder .*none"):
        write_json({}, str(tmp_path / "none" / "out.json"))
