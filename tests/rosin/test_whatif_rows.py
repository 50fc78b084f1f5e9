"""The rows of a study: what is kept of them, and that reading them one by one changes nothing."""

import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from planner.study.outcome import Outcome
from planner.study.prices import NO_PRICES
from planner.study.study import Study
from rosin.__main__ import main
from rosin.cli.json_output import envelope, plain, write_json
from rosin.cli.output import Output
from rosin.commands.whatif.page import whatif_page
from rosin.commands.whatif.result import whatif_result
from rosin.commands.whatif.rows import StudyRows
from rosin.commands.whatif.table import study_table, table_csv
from tests.planner.studies import small_study
from tests.rosin.kept_studies import SCENARIO, fill, made_outcome

NUM_POINTS = 100
BYTES_PER_POINT = 2_500
"""Marks, and cells of the table while it is made; a row takes eight times as much, and its JSON as
well.
"""


def _misfit(place: int) -> Outcome:
    return Outcome(is_feasible=False, reason=f"{place} layers", missing_bytes=place)


def _mixed(place: int) -> Outcome:
    return _misfit(place) if place % 3 == 1 else made_outcome(place)


def _rows(study: Study, outcome_of: Callable[[int], Outcome]) -> StudyRows:
    def outcomes_at(places: Iterable[int]) -> Iterator[Outcome]:
        return (outcome_of(place) for place in places)

    return StudyRows(study, outcomes_at, NO_PRICES)


def test_rows_are_not_kept(tmp_path: Path) -> None:
    """Findings, table, page and JSON of many points keep a small part of what their rows take."""
    # What is imported and kept on first use is none of the points' memory.
    _peak_bytes(2, tmp_path)
    few, many = (_peak_bytes(number, tmp_path) for number in (NUM_POINTS, 3 * NUM_POINTS))
    assert (
        len(json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"])
        == 3 * NUM_POINTS
    )
    assert many - few < 2 * NUM_POINTS * BYTES_PER_POINT


def _peak_bytes(num_points: int, folder: Path) -> int:
    study = small_study(f"link.h2d.bytes_per_s=5e9:60e9:{num_points}")
    rows = _rows(study, made_outcome)
    tracemalloc.start()
    try:
        _show(rows, study, folder)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _show(rows: StudyRows, study: Study, folder: Path) -> None:
    result = whatif_result(study, rows, None, command="", num_computed=0)
    table_csv(study_table(result.rows))
    for _ in whatif_page(result):
        pass
    data = envelope(result.data(), provenance=None, warnings=(), seed=0)
    write_json(data, str(folder / "out.json"))


@pytest.mark.parametrize("outcome_of", [made_outcome, _mixed, _misfit])
def test_table_is_that_of_all_rows_at_once(outcome_of: Callable[[int], Outcome]) -> None:
    """Columns grown row by row give the table that pandas makes of a list of rows."""
    rows = _rows(small_study("batch=1:9:9", "model=mixtral-8x7b,mixtral-8x22b"), outcome_of)
    found = study_table(rows)
    cells = [study_table([row]).to_dict("records")[0] for row in rows]
    expected = pd.DataFrame(cells, columns=list(found.columns))
    assert found.to_csv() == expected.to_csv()
    assert set(found.columns) == {name for row in cells for name in row}


def test_rows_are_read_at_any_place() -> None:
    """By number, from the end, and by slice, as from a list; a place beyond the end is none."""
    rows = _rows(small_study("batch=1:9:9"), _mixed)
    listed = list(rows)
    assert [row.is_feasible for row in listed] == [place % 3 != 1 for place in range(9)]
    assert (rows[4], rows[-1], rows[2:7:2]) == (listed[4], listed[-1], listed[2:7:2])
    assert [mark.values for mark in rows.marks] == [row.values for row in listed]
    with pytest.raises(IndexError):
        rows[9]


def test_json_of_an_iterator_is_that_of_a_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte by byte, whatever stands around it, and where it is empty."""
    items = [{"a": [1, {"b": "line\nend ×"}], "c": {}, "d": None}, [], "text", 1.5]
    for listed in (items, []):
        data = {"before": {"x": [1]}, "rows": listed, "after": []}
        expected = json.dumps(plain(data), indent=2, ensure_ascii=False) + "\n"
        write_json(data | {"rows": iter(listed)}, str(tmp_path / "out.json"))
        assert (tmp_path / "out.json").read_text(encoding="utf-8") == expected
        write_json(data | {"rows": iter(listed)}, "-")
        assert json.loads(capsys.readouterr().out) == data


def test_the_folder_is_free_while_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pager that waits for its reader holds no other command up; rows are read all the same."""
    vary = ("batch=1:3:3",)
    fill(tmp_path, vary, made_outcome)
    command = ["whatif", *SCENARIO, "--vary", *vary, "--workers", "1", "-o", str(tmp_path)]
    emit = Output.emit
    ended = []

    def waiting_emit(self: Output, *arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(Output, "emit", emit)
        ended.append(main(command))
        emit(self, *arguments, **named)

    monkeypatch.setattr(Output, "emit", waiting_emit)
    assert main([*command, "--json", str(tmp_path / "out.json")]) == 0
    assert ended == [0]
    assert len(json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"]) == 3
