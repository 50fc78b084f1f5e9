"""`rosin reproduce`: targets first, every cell in the files and in the JSON."""

import csv
import json
from pathlib import Path
from typing import cast

import pytest

from rosin.__main__ import main
from rosin.cli.failures import ExitCode
from rosin.commands.reproduce.document import ReproduceResult
from tests.rosin.command_line import checked_result
from tests.shared_data import shared_data
from validation.published.library import REPRODUCTIONS


def test_fiddler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run: the page in 80 columns, the three files, and a JSON that agrees with them, cell by
    cell.
    """
    folder, document = tmp_path / "out", tmp_path / "fiddler.json"
    assert main(["reproduce", "fiddler", "-o", str(folder), "--json", str(document)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80 + len(str(folder))
    data = json.loads(document.read_text(encoding="utf-8"))
    checked_result(ReproduceResult, data)
    assert sorted(path.name for path in folder.iterdir()) == [
        "fiddler.csv",
        "fiddler.md",
        "fiddler.png",
    ]
    judged = [line["is_met"] for line in data["targets"] if line["is_met"] is not None]
    assert f"{sum(judged)} of {len(judged)} targets are met" in text
    assert "skipped" in text  # the hit rates, for want of measured counts
    with (folder / "fiddler.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = [cell for table in data["tables"] for cell in table["cells"]]
    assert [float(row["published"]) for row in rows] == [cell["published"] for cell in cells]
    assert [float(row["simulated"]) for row in rows] == pytest.approx(
        [cell["simulated"] for cell in cells], rel=1e-5
    )
    for cell in cells:
        assert cell["error_fraction"] == pytest.approx(cell["simulated"] / cell["published"] - 1)


@pytest.mark.slow
def test_measured_popularity(capsys: pytest.CaptureFixture[str]) -> None:
    """With the released counts the hit rates are there."""
    counts = shared_data("routing/mixtral-8x7b-popularity.json")
    assert main(["reproduce", "fiddler", "--routing", f"popularity:{counts}", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [line["is_met"] for line in data["targets"] if "hit rate" in line["name"]] == [True] * 4


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ([], "known: all, fiddler"),
        (["fidler"], "did you mean 'fiddler'?"),
        (["fiddler", "--routing", "uniform"], "takes popularity:FILE only"),
        (["fiddler", "--routing", "popularity:none.json"], "none.json"),
    ],
)
def test_mistakes(arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one line and exit code 2."""
    assert main(["reproduce", *arguments]) == ExitCode.WRONG_INPUT
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert fragment in captured.err


def test_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run of two quick papers: the page in 80 columns, two files, and a JSON with every claim."""
    for name in REPRODUCTIONS.keys() - {"kernels", "mixtral-offloading"}:
        monkeypatch.delitem(cast(dict[str, object], REPRODUCTIONS), name)
    folder, document = tmp_path / "out", tmp_path / "all.json"
    assert main(["reproduce", "all", "-o", str(folder), "--json", str(document)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80 + len(str(folder))
    data = json.loads(document.read_text(encoding="utf-8"))
    checked_result(ReproduceResult, data)
    assert sorted(path.name for path in folder.iterdir()) == ["all.csv", "all.md"]
    page = (folder / "all.md").read_text(encoding="utf-8")
    assert len(data["claims"]) == 7
    assert all(claim["figure"] in page for claim in data["claims"])
    assert all(
        bool(claim["because"]) != (claim["verdict"] == "confirmed") for claim in data["claims"]
    )
