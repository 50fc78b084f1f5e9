"""`rosin whatif`: the table, the figures, what is said about them, and going on after an
interruption.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from rosin.__main__ import main
from rosin.commands.whatif import document as whatif_documents
from rosin.commands.whatif import files as whatif_files
from rosin.report.axis_words import axis_label, short, tick_labels
from tests.planner.studies import has_processes, points_kept, wait_until
from tests.rosin.command_line import assert_one_line_error, run_rosin, start_rosin
from tests.rosin.scenarios import json_of, text_of
from tests.source_tree import ROOT

LINK = "link.h2d.bytes_per_s"
TINY = (
    "whatif",
    "--model",
    "mixtral-8x7b",
    "--machine",
    "desktop-rtx-4090-ddr5",
    "--prompt-tokens",
    "6",
    "--output-tokens",
    "2",
)
ONE = (*TINY, "--workers", "1")


def test_one_number_varies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table, lines and summary; JSON agrees with the table; a second call computes nothing and
    gives the same files.
    """
    command = (*ONE, "--vary", f"{LINK}=6e9,12GB,50e9", "-o", str(tmp_path))
    first = json_of(capsys, *command)
    assert first["num_computed"] == 3
    names = {Path(file).name for file in first["files"]}
    assert names >= {"study.sqlite", "table.csv", "lines.png", "lines.svg"}
    names.discard("table.parquet")  # only where pyarrow is installed
    before = {name: (tmp_path / name).read_bytes() for name in names}
    again = json_of(capsys, *command)
    assert again == first | {"num_computed": 0}
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table[LINK]) == [6e9, 12e9, 50e9]
    assert list(table["output_tokens_per_s"]) == [
        row["metrics"]["output_tokens_per_s"] for row in first["rows"]
    ]
    assert (table["output_tokens_per_s"] >= table["best_named_output_tokens_per_s"]).all()
    text = " ".join(text_of(capsys, *command).split())
    for expected in (
        "3 kept from before",
        "What changes most",
        "link rate, host to GPU ×",
        "Diminishing returns",
    ):
        assert expected in text


def test_two_numbers_prices_and_tornado(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A map, the front of price against speed, and the sensitivities; points that do not fit are
    rows with a reason.
    """
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "format: rosin-prices/1\nbase_usd: 900\ngpu.memory_bytes: {1MB: 1, 8GB: 200, 24GB: 900}\n",
        encoding="utf-8",
    )
    vary = ("--vary", "gpu.memory_bytes=1MB,8GB,24GB", "--vary", "cpu.memory_bytes_per_s=40e9,80e9")
    command = (*ONE, *vary, "--prices", str(prices), "--tornado", "-o", str(tmp_path / "out"))
    found = json_of(capsys, *command)
    assert {"map.png", "front.svg", "tornado.png"} <= {Path(file).name for file in found["files"]}
    misfit = found["rows"][0]
    assert (misfit["is_feasible"], misfit["policy"], misfit["price_usd"]) == (False, None, 901)
    assert misfit["reason"]
    assert misfit["missing_bytes"] > 0
    assert [found["rows"][place]["price_usd"] for place in found["front"]] == [1100, 1800]
    assert any("at 2 of 6 points nothing fits" in warning for warning in found["warnings"])
    moved = {row["path"]: row for row in found["sensitivities"]}
    assert (
        moved["cpu.memory_bytes_per_s"]["low_gain_fraction"]
        < 0
        < moved["cpu.memory_bytes_per_s"]["high_gain_fraction"]
    )
    assert found["num_computed"] == 6 + 1 + 2 * len(moved)
    assert "does not fit" in text_of(capsys, *command)


def test_names_vary_and_stand_in_for_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--machine may be left out where it varies; names give bars, or lines when a number varies
    too.
    """
    common = (
        "whatif",
        "--model",
        "mixtral-8x7b",
        "--prompt-tokens",
        "6",
        "--output-tokens",
        "2",
        "--workers",
        "1",
    )
    machines = ("--vary", "machine=h100,desktop-rtx-4090-ddr5")
    found = json_of(capsys, *common, *machines, "-o", str(tmp_path))
    assert "bars.png" in {Path(file).name for file in found["files"]}
    assert [row["values"]["machine"] for row in found["rows"]] == ["h100", "desktop-rtx-4090-ddr5"]
    wider = json_of(capsys, *common, *machines, "--vary", "batch=1,2", "-o", str(tmp_path))
    assert wider["num_computed"] == 2
    assert "lines.png" in {Path(file).name for file in wider["files"]}
    assert "machine  varies" in text_of(capsys, *common, *machines, "-o", str(tmp_path))


def test_a_study_in_processes_from_a_shell(tmp_path: Path) -> None:
    """Two processes, started by the command itself, and a command that repeats the study."""
    result = start_rosin(
        *TINY, "--vary", "batch=1,2", "--workers", "2", "-o", "out", "--json", "-", folder=tmp_path
    )
    assert result.exit_code == 0, result.err
    again = run_rosin(*result.json["command"].split()[1:], folder=tmp_path)
    assert again.exit_code == 0
    assert "2 kept from before" in again.out


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs, which ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once_and_keeps_what_finished(tmp_path: Path) -> None:
    """An impatient user's second Ctrl-C hangs nothing, workers end too, and the points are there."""
    command = [
        sys.executable,
        "-m",
        "rosin",
        *TINY,
        "--vary",
        f"{LINK}=5e9:60e9:500",
        "--workers",
        "2",
        "-o",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    study = subprocess.Popen(
        command, env=environment, **pipes, text=True, start_new_session=True, preexec_fn=heed_ctrl_c
    )
    while len(points_kept(tmp_path / "study.sqlite")) < 3 and study.poll() is None:
        time.sleep(0.05)
    for _ in range(2):
        os.killpg(study.pid, signal.SIGINT)
        time.sleep(0.02)
    _, err = study.communicate(timeout=120)
    assert study.returncode in (
        130,
        -signal.SIGINT,
    )  # the latter where the second one meets the interpreter on its way out
    assert "Traceback" not in err or study.returncode != 130
    wait_until(lambda: not has_processes(study.pid))
    assert len(points_kept(tmp_path / "study.sqlite")) >= 3


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ((), ("missing option '--vary'",)),
        (("--vary", f"{LINK}=1e9"), ("missing option '-o'",)),
        (
            ("--vary", "link.h2d.bytes_per_sec=1e9", "-o", "out"),
            ("--vary link.h2d.bytes_per_sec=1e9", "did you mean 'bytes_per_s'?"),
        ),
        (("--vary", f"{LINK}=fast", "-o", "out"), (f"--vary {LINK}=fast", "is not a number")),
        (("--vary", f"{LINK}=", "-o", "out"), ("an empty value",)),
        (("--vary", "batch=1", "--vary", "batch=2", "-o", "out"), ("--vary batch: said twice",)),
        (
            ("--vary", "batch=1,2", "--objective", "speed", "-o", "out"),
            ("no objective named 'speed'",),
        ),
        (
            ("--vary", "batch=1,2", "--objective", "cost", "-o", "out"),
            ("--prices sets price against it",),
        ),
        (
            ("--vary", "batch=1,2", "--set", "believed_cost=code", "-o", "out"),
            ("--set believed_cost",),
        ),
        (
            ("--vary", "batch=1,2", "--prices", "none.yaml", "-o", "out"),
            ("no price file none.yaml",),
        ),
        (("--vary", "batch=100M", "-o", "out"), ("at most 1,000,000",)),
    ],
)
def test_wrong_input_is_one_line_and_runs_nothing(
    arguments: tuple[str, ...], fragments: tuple[str, ...], tmp_path: Path
) -> None:
    """Exit code 2, the nearest valid name where there is one, and no folder made."""
    assert_one_line_error(run_rosin(*TINY, *arguments, folder=tmp_path), *fragments)
    assert list(tmp_path.iterdir()) == []


def test_another_study_in_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same folder with another base is one line, and the old study stays."""
    command = (*ONE, "--vary", "batch=1", "-o", str(tmp_path), "--quiet")
    assert main(list(command)) == 0
    assert main([*command, "--seed", "5"]) == 2
    assert "holds another study: its base setting differs" in capsys.readouterr().err


def test_nothing_feasible_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is written, and the error says how near the nearest was."""
    assert main([*ONE, "--vary", "gpu.memory_bytes=1MB,2MB", "-o", str(tmp_path), "--quiet"]) == 3
    assert re.search(r"no feasible plan at any of 2 points .* too much\n", capsys.readouterr().err)
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2


def test_parquet_is_optional(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow one line says so; with it the file holds the table."""
    command = (*ONE, "--vary", "batch=1", "-o", str(tmp_path))
    monkeypatch.setattr(whatif_files, "find_spec", lambda name: None)
    assert json_of(capsys, *command)["warnings"][0] == whatif_files.NO_PARQUET
    assert not (tmp_path / "table.parquet").exists()
    monkeypatch.undo()
    pytest.importorskip("pyarrow", reason="needs pyarrow, from the extra `parquet`")
    json_of(capsys, *command)
    assert list(pd.read_parquet(tmp_path / "table.parquet")["batch"]) == [1]


def test_numbers_are_said_in_the_unit_of_their_path() -> None:
    """Ticks, labels and values share one unit."""
    assert axis_label(LINK) == "link rate, host to GPU (GB/s)"
    assert tick_labels(LINK, [12e9, 2.5e9]) == ["12", "2.50"]
    assert (short(LINK, 25e9), short("batch", 4), short("model", "m")) == ("25.0 GB/s", "4", "m")


def test_json_page_explains_every_key() -> None:
    """docs/reference/json.md has the keys of each part of the document, in order."""
    page = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    for title, document in {
        "whatif": whatif_documents.WhatifResult,
        "whatif rows": whatif_documents.WhatifRow,
        "effects": whatif_documents.AxisEffect,
        "policy_changes": whatif_documents.PolicyChange,
        "saturations": whatif_documents.Saturation,
        "sensitivities": whatif_documents.Sensitivity,
    }.items():
        section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
        cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
        assert [key for cell in cells for key in re.findall(r"`(\w+)`", cell)] == list(
            document.model_fields
        ), title
