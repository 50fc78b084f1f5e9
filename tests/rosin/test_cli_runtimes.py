"""`rosin simulate --runtime` and `rosin accuracy`: answers in users' words, JSON as documented,
mistakes in one line.
"""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from rosin.__main__ import main
from tests.rosin.command_line import assert_one_line_error, run_rosin
from tests.rosin.scenarios import json_of, text_of
from tests.validation.accuracy.synthetic import synthetic_rows

PC = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"
ASKED = (
    "simulate",
    "--model",
    "qwen3-30b-a3b",
    "--quantization",
    "4bit",
    "--machine",
    PC,
    "--runtime",
    "llama.cpp",
)
ARGS = "-ngl 99 -ncmoe 20 -ub 2048 -ctk q8_0 -fa 1 -t 16"
RANGE = {"tokens_per_s", "low_tokens_per_s", "high_tokens_per_s", "coverage_fraction"}


def test_prediction_is_as_in_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """Both phases have a middle and ends; memory is by device and kind."""
    data = json_of(capsys, *ASKED, "--runtime-args", ARGS, "--context-tokens", "8192")
    for phase in ("decode", "prefill"):
        speed = data["runtime_prediction"][phase]
        assert set(speed) >= RANGE
        assert speed["low_tokens_per_s"] < speed["tokens_per_s"] < speed["high_tokens_per_s"]
    assert set(data["memory_bytes"]) == {"host", "gpu0"}
    assert set(data["memory_bytes"]["gpu0"]) == {"weights", "kv", "compute"}
    assert data["context_tokens"] == 8192


def test_answer_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The page says both speeds with their ranges, what limits them, and what they rest on."""
    text = text_of(capsys, *ASKED, "--runtime-args", ARGS)
    assert "tokens/s (" in text
    assert "decode is limited by experts on the CPU" in text
    assert "prefill is limited by copying weights to the GPU" in text
    assert "it all rests on datasheets of the parts" in text


def test_kv_type_is_that_of_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """--kv-type stores keys and values as the flags of both would."""
    short = json_of(
        capsys,
        *ASKED,
        "--runtime-args",
        "-ngl 99 -cmoe",
        "--kv-type",
        "q8_0",
        "--context-tokens",
        "16000",
    )
    flags = json_of(
        capsys,
        *ASKED,
        "--runtime-args",
        "-ngl 99 -cmoe -ctk q8_0 -ctv q8_0",
        "--context-tokens",
        "16000",
    )
    assert short["runtime_prediction"] == flags["runtime_prediction"]
    assert short["memory_bytes"] == flags["memory_bytes"]


def test_ignored_arguments_are_named_once(tmp_path: Path) -> None:
    """Flags that change nothing are in one warning."""
    result = run_rosin(
        *ASKED, "--runtime-args", "-ngl 99 -cmoe --host 0.0.0.0 --port 80", folder=tmp_path
    )
    [warning] = [line for line in result.err.splitlines() if "change no prediction" in line]
    assert warning.endswith("--host --port")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*ASKED, "--runtime-args", "-ncmo 3"), "did you mean '-ncmoe'"),
        (
            (*ASKED, "--output-tokens", "64"),
            "rosin plan --runtime llama.cpp --against ARGUMENTS times a whole answer",
        ),
        ((*ASKED, "--policy", "fiddler"), "--policy does not go with --runtime"),
        ((*ASKED, "--batch", "4"), "--batch does not go with --runtime"),
        ((*ASKED, "--kv-type", "q9"), "kv type q9"),
        ((*ASKED, "--set", "believed_cost=code"), "--set believed_cost"),
        ((*ASKED[:-1], "lama.cpp"), "did you mean 'llama.cpp'"),
        (
            (*ASKED[:-2], "--runtime-args", "-ngl 9", "--policy", "fiddler"),
            "--runtime-args needs --runtime",
        ),
        (
            ("simulate", "--runtime", "llama.cpp", "--model", "qwen3-30b-a3b"),
            "missing option '--machine'",
        ),
        (("accuracy", "none.csv"), "none.csv: No such file"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Each mistake is one line that says what would be right."""
    result = run_rosin(*words, folder=tmp_path)
    assert_one_line_error(result, message)


def test_accuracy_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows are predicted, a folder gets a page, figures and JSON, and both JSONs are the same."""
    path = _rows_file(tmp_path / "rows.csv")
    out = tmp_path / "out"
    data = json_of(capsys, "accuracy", str(path), "-o", str(out))
    assert {"rows", "summary", "baselines"} <= set(data)
    row = data["rows"][0]
    assert set(row["decode"]) == {
        "predicted_tokens_per_s",
        "low_tokens_per_s",
        "high_tokens_per_s",
        "measured_tokens_per_s",
    }
    assert (out / "accuracy-decode.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "accuracy.md").read_text(encoding="utf-8").startswith("# How accurate")
    assert json.loads((out / "accuracy.json").read_text(encoding="utf-8"))["rows"] == data["rows"]


def test_accuracy_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page for people has a line for each group, and the reasons of rows left out."""
    path = _rows_file(tmp_path / "rows.csv", runtime="vllm")
    text = text_of(capsys, "accuracy", str(path))
    assert "all rows" in text
    assert "1 rows cannot be expressed" in text
    assert "vllm: not modelled" in text


def test_accuracy_answers_row_by_row_where_rows_are_few(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever brings a measurement of one machine sees whether it is normal, beside no rule that
    needs other machines.
    """
    path = _rows_file(tmp_path / "rows.csv")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    slow, fast = (
        rows[0] | {"id": name, "decode_tokens_per_s": speed}
        for name, speed in (("slow", "0.01"), ("fast", "90000"))
    )
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(slow))
        writer.writeheader()
        writer.writerows([slow, fast])
    text = text_of(capsys, "accuracy", str(path))
    verdicts = {
        line.split()[0]: line.split()[-1] for line in text.splitlines() if " decode " in line
    }
    assert verdicts == {"slow": "slower", "fast": "faster"}
    assert "roofline" in text
    assert "median of other machines" not in text


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`rosin --help` lists accuracy."""
    assert main(["--help"]) == 0
    assert "accuracy" in capsys.readouterr().out


def _rows_file(path: Path, runtime: str | None = None) -> Path:
    """Rows of one machine by the parts that its line names, the last of another runtime where one
    is named.
    """
    rows = [asdict(row) | {"machine": PC} for row in synthetic_rows()[:4]]
    if runtime is not None:
        rows[-1]["runtime"] = runtime
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {name: "" if value is None else value for name, value in row.items()} for row in rows
        )
    return path
