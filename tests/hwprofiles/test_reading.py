"""Reading YAML and JSON: whatever a text says, the answer is a plain value or one line."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("files")


ENDS = st.sampled_from(["\n", "\r\n", "\r"])
"""Line ends of the systems that people write files on."""


@given(tree=st.dictionaries(KEYS, TREES), end=ENDS, has_mark=st.booleans())
@settings(max_examples=25)
def test_marks_and_line_ends_change_nothing(
    tree: dict[str, Any], end: str, has_mark: bool, folder: Path
) -> None:
    """A byte-order mark in front and any line ends: the same YAML, and the same JSON."""
    encoding = "utf-8-sig" if has_mark else "utf-8"
    path = folder / "file"
    path.write_bytes(yaml.safe_dump(tree).replace("\n", end).encode(encoding))
    assert read_yaml(path, "test") == tree
    path.write_bytes(json.dumps(tree, indent=1).replace("\n", end).encode(encoding))
    assert read_json(path, "test") == tree


@given(
    lines=st.lists(st.text("ab,; é💥", max_size=8), max_size=8), end=ENDS, has_mark=st.booleans()
)
def test_lines_are_those_that_are_not_blank(
    lines: list[str], end: str, has_mark: bool, folder: Path
) -> None:
    """Each with its number in the file, whatever ends it."""
    path = folder / "lines"
    path.write_bytes(end.join(lines).encode("utf-8-sig" if has_mark else "utf-8"))
    assert list(text_lines(path, "trace")) == [
        (f"{path}:{number}", line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


@given(
    content=st.binary(max_size=200),
    encoding=st.sampled_from(["utf-16", "utf-32", "latin-1", "cp1252"]),
)
def test_other_encodings_are_read_or_refused_in_one_line(
    content: bytes, encoding: str, folder: Path
) -> None:
    """Bytes of any kind, and text of another encoding: a value or a line that names the file."""
    path = folder / "file"
    for data in (content, f"a: é{content!r}\n".encode(encoding)):
        path.write_bytes(data)
        for read in (read_yaml, read_json):
            try:
                read(path, "test")
            except InputError as error:
                assert str(path) in str(error)
                assert len(one_line(str(error)).splitlines()) == 1
        try:
            list(text_lines(path, "test"))
        except InputError as error:
            assert str(path) in str(error)
