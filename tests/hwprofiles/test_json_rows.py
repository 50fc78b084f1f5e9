"""A long list in JSON, read object by object: what reading the whole file gives, or one line."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, json_rows
from hwprofiles.json_file import read_json
from hwprofiles.json_rows import JsonRows, read_json_rows

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
FILES = st.fixed_dictionaries({"rows": st.lists(OBJECTS, max_size=4)}) | OBJECTS


def _read(path: Path) -> dict[str, Any]:
    """What row by row comes to, all of it."""
    found = read_json_rows(path, "result", "rows")
    return {
        key: list(value) if isinstance(value, JsonRows) else value for key, value in found.items()
    }


@given(
    before=OBJECTS,
    data=FILES,
    indent=st.sampled_from([None, 2]),
    chunk=st.sampled_from([1, 2, 7, 2**16]),
)
@settings(max_examples=60)
def test_rows_are_those_of_the_file(
    before: dict[str, Any],
    data: dict[str, Any],
    indent: int | None,
    chunk: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """However the file is laid out, and wherever reading it stops on the way."""
    path = tmp_path_factory.mktemp("rows") / "a.json"
    path.write_text(json.dumps(before | data, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK_CHARACTERS", chunk)
        assert _read(path) == read_json(path, "result")
        found = read_json_rows(path, "result", "rows").get("rows")
        if isinstance(found, JsonRows):
            assert list(found) == list(found), "read again"


@given(data=OBJECTS, rows=st.lists(OBJECTS, max_size=3), cut=st.floats(0, 1), junk=TEXTS)
@settings(max_examples=60)
def test_what_is_no_json_is_one_line(
    data: dict[str, Any],
    rows: list[Any],
    cut: float,
    junk: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A file that is cut off anywhere, with anything behind: refused as reading it whole refuses it."""
    path = tmp_path_factory.mktemp("cut") / "a.json"
    whole = json.dumps(data | {"rows": rows})
    text = whole[: int(cut * (len(whole) - 1))] + junk
    path.write_text(text, encoding="utf-8", newline="")
    try:
        expected = read_json(path, "result")
    except InputError:
        with pytest.raises(InputError) as refused:
            _read(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)
    else:
        assert _read(path) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1]", "a result is a JSON object"),
        ('{"a": 1, "a": 2}', "key 'a' is written twice"),
        ('{"rows": [1]}', "'rows' is a list of objects"),
        ('{"rows": []} {}', "something follows the object"),
        ('{\n"rows": [{},\n{"a": NaN}]}', ":3: broken JSON: NaN is no number"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "at most 64 deep"),
        ('{"a": ' + "[" * 100_000, "broken JSON"),
        ('{"a": [' + "0," * 2_100_000 + "0]}", "more than 2,000,000 values"),
        ('{"rows": [{"a": "' + "x" * 5_000_000 + '"}]}', "at most 4,194,304 characters"),
    ],
)
def test_faults_are_named(text: str, fault: str, tmp_path: Path) -> None:
    """With the file and, behind a line end, the line."""
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        _read(path)
    assert fault in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_rows_take_no_memory(tmp_path: Path) -> None:
    """A list four times as long takes no more of it than the longest row."""
    row = json.dumps({"figures": list(range(1000))})

    def peak_bytes(num_rows: int) -> int:
        path = tmp_path / f"{num_rows}.json"
        path.write_text('{"rows": [' + ", ".join([row] * num_rows) + "]}", encoding="utf-8")
        tracemalloc.start()
        try:
            assert sum(1 for _ in JsonRows(path, "result", "rows")) == num_rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(1)
    assert peak_bytes(400) < peak_bytes(100) + 10 * len(row)
