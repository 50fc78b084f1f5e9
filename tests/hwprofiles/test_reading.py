"""Reading YAML and JSON: whatever a text says, the answer is a plain value or one line."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError, parse_json, parse_yaml, read_json, read_yaml
from hwprofiles.errors import one_line
from hwprofiles.input_file import MAX_FILE_BYTES, text_lines
from hwprofiles.yaml_tree import MAX_DEPTH, MAX_DIGITS
from tests.bad_files import JSON_KINDS, YAML_KINDS

SAID = {
    "depth": f"at most {MAX_DEPTH} deep",
    "closed depth": f"at most {MAX_DEPTH} deep",
    "block depth": f"at most {MAX_DEPTH} deep",
    "aliases": "what aliases repeat counted",
    "merges": "what aliases repeat counted",
    "self reference": "no anchor 'a' before this alias",
    "list as key": "a key must be text",
    "mapping as key": "a key must be text",
    "python tag": "tag tag:yaml.org,2002:python/object/apply:os.getcwd is not read",
    "timestamp tag": "tag tag:yaml.org,2002:timestamp is not read",
    "own tag": "tag !mine is not read",
    "digits": f"at most {MAX_DIGITS} digits",
    "many digits": f"at most {MAX_DIGITS} digits, got 400",
    "wrong int": "no int: 'x'",
    "wrong bool": "no bool: 'perhaps'",
    "twice": "is written twice",
    "two documents": "one document",
    "NaN": "NaN is no number",
    "too large": "1e999 is too large",
    "half a character": "half a character",
}
"""What is said of the kinds that no reader lets through."""


@pytest.mark.parametrize("kind", [kind for kind in YAML_KINDS if kind in SAID])
def test_yaml_that_is_refused(kind: str, tmp_path: Path) -> None:
    """One line of fewer than 300 characters that names the file, its line and column, and what is
    wrong.
    """
    path = tmp_path / "file.yaml"
    path.write_text(YAML_KINDS[kind](), encoding="utf-8")
    with pytest.raises(InputError, match=rf"^{path}:\d+: broken YAML: .*\(column \d+\)$") as caught:
        read_yaml(path, "test")
    assert SAID[kind] in str(caught.value)
    assert len(one_line(str(caught.value))) < 300


@pytest.mark.parametrize("kind", [kind for kind in JSON_KINDS if kind in SAID])
def test_json_that_is_refused(kind: str, tmp_path: Path) -> None:
    """One line that names the file and what is wrong, for a file as for a line of one."""
    path = tmp_path / "file.json"
    path.write_text(JSON_KINDS[kind](), encoding="utf-8")
    with pytest.raises(InputError, match=f"^{path}(:1)?: broken JSON: ") as caught:
        read_json(path, "test file")
    assert SAID[kind] in str(caught.value)
    with pytest.raises(InputError, match=r"^here: broken JSON: "):
        parse_json(JSON_KINDS[kind](), "here")


WORDS = st.text(st.characters(codec="utf-8"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
)
KEYS = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30
)


@given(TREES)
def test_yaml_reads_what_was_written(tree: Any) -> None:
    """What PyYAML writes comes back equal, as PyYAML itself would read it."""
    text = yaml.safe_dump(tree)
    assert parse_yaml(text, "here") == yaml.safe_load(text) == tree


@given(st.dictionaries(KEYS, TREES))
def test_json_reads_what_was_written(tree: dict[str, Any]) -> None:
    """What Python writes as JSON comes back equal."""
    assert parse_json(json.dumps(tree), "here") == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "a: 0x1F\nb: 0o17\nc: 017\nd: 1_000\ne: 1:30",
            {"a": 31, "b": "0o17", "c": 15, "d": 1000, "e": 90},
        ),
        (
            "a: 1.5e+3\nb: 1e3\nc: .inf\nd: '1'",
            {"a": 1500.0, "b": "1e3", "c": float("inf"), "d": "1"},
        ),
        ("a: yes\nb: off\nc: ~\nd:\ne: ''", {"a": True, "b": False, "c": None, "d": None, "e": ""}),
        ("a: !!str 1\nb: !!float 1\nc: ! 1", {"a": "1", "b": 1.0, "c": "1"}),
        ("a: 2024-02-30\nb: 2024-01-02", {"a": "2024-02-30", "b": "2024-01-02"}),
        ("1: a\n2.50: b\nyes: c", {"1": "a", "2.50": "b", "yes": "c"}),
        (
            "a: &x {k: 1, m: 2}\nb: {<<: *x, k: 3}\nc: *x",
            {"a": {"k": 1, "m": 2}, "b": {"k": 3, "m": 2}, "c": {"k": 1, "m": 2}},
        ),
        (
            "a: [&x {k: 1}, &y {k: 2, l: 3}]\nb: {<<: [*x, *y]}",
            {"a": [{"k": 1}, {"k": 2, "l": 3}], "b": {"k": 1, "l": 3}},
        ),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_yaml_as_it_is_meant(text: str, value: Any) -> None:
    """Numbers, words and merges are those of YAML 1.1; keys and dates are text."""
    assert parse_yaml(text, "here") == value


def test_json_takes_infinity_where_asked(tmp_path: Path) -> None:
    """Configurations have time_step_limit: [0.0, Infinity]; other files must not."""
    path = tmp_path / "config.json"
    path.write_text('{"limit": [0.0, Infinity]}', encoding="utf-8")
    assert read_json(path, "configuration", takes_infinity=True) == {"limit": [0.0, float("inf")]}
    with pytest.raises(InputError, match="Infinity is no number"):
        read_json(path, "configuration")


def test_json_key_twice_with_one_value(tmp_path: Path) -> None:
    """Nothing is lost where both are equal."""
    assert parse_json('{"a": 1, "a": 1}', "here") == {"a": 1}


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A pipe, a device and a folder are refused, and nothing waits for them."""
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, kind in (
        (tmp_path / "pipe.yaml", "neither"),
        (Path("/dev/zero"), "neither"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(InputError, match=f"cannot read .*{path}: it is {kind}"):
            read_yaml(path, "test")
        with pytest.raises(InputError, match=f"cannot read .*{path}: it is {kind}"):
            next(text_lines(path, "trace"))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """Its size is looked at before it is read."""
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match=f"at most {MAX_FILE_BYTES:,}"):
        read_yaml(path, "test")


def test_a_line_that_is_too_long(tmp_path: Path) -> None:
    """The line is named, and no more of it is read."""
    path = tmp_path / "trace.jsonl"
    path.write_text("{}\n" + "x" * 2000, encoding="utf-8")
    with pytest.raises(InputError, match=r"trace\.jsonl:2: a line has at most 1,000 characters"):
        list(text_lines(path, "trace", 1000))


@given(st.text(max_size=2000) | st.text("ab\x1b\x07\u202e\ud800", max_size=50))
def test_what_is_wrong_fits_a_line(message: str) -> None:
    """However long a message is, it becomes one short line."""
    line = one_line(message)
    assert len(line) <= 290
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
