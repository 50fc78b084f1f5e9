"""`rosin choose` and `rosin accuracy --cases`: JSON as documented, words, mistakes in one line."""

import csv
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.rosin.command_line import assert_one_line_error, run_rosin
from tests.rosin.scenarios import json_of, text_of
from tests.validation.accuracy.synthetic import synthetic_rows

PC = "RTX 5090 + Ryzen 9 9950X + 2x64GB DDR5-5600"
ASKED = ("choose", "--machine", PC, "--model", "gpt-oss-120b")
ARM = {
    "arm",
    "decode",
    "prefill",
    "request_s",
    "expected_s",
    "regret_fraction",
    "regret_against",
    "rests_on",
    "gpu_expert_layers",
    "cached_fraction",
    "command",
    "program",
    "drafts",
}


def test_choice_is_as_in_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """Arms come best first, each with both speeds and their ends, and the regret risked."""
    data = json_of(capsys, *ASKED)
    assert [set(arm) for arm in data["arms"]] == [ARM] * len(data["arms"])
    seconds = [arm["expected_s"] for arm in data["arms"]]
    assert seconds == sorted(seconds)
    for arm in data["arms"]:
        assert arm["decode"]["low_tokens_per_s"] < arm["decode"]["high_tokens_per_s"]
    assert data["left_out"] == []


def test_choice_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The page has every way, what is at risk, and the command of the best."""
    text = text_of(capsys, *ASKED)
    assert "static layers" in text and "hybrid" in text
    assert "at risk" in text
    assert "best, by " in text


@pytest.mark.parametrize(("acceptance", "said"), [("0.95", "each way"), ("0", "no way")])
def test_page_says_for_which_ways_drafts_pay(
    acceptance: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Speeds with and without drafts stand side by side, then the verdict; each as the document has it."""
    asked = (*ASKED, "--drafts", "2", "--acceptance", acceptance)
    text = text_of(capsys, *asked)
    assert "without" in text and f"drafts pay for {said}" in text
    drafted = [arm["drafts"] for arm in json_of(capsys, *asked)["arms"]]
    assert {own["pays"] for own in drafted} == {said == "each way"}


def test_ways_ruled_out_alike_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Where everything fits, no cache is possible for one reason, and how often caches miss says nothing."""
    card = "RTX PRO 6000 + Ryzen 9 9950X + 2x64GB DDR5-5600"
    text = " ".join(text_of(capsys, "choose", "--machine", card, "--model", "gpt-oss-120b").split())
    assert text.count("not possible:") == 1
    assert "split: every expert fits on the GPU" in text
    assert "how often caches miss" not in text


def test_figure_has_every_way_and_its_range(tmp_path: Path) -> None:
    """Each way has its name and its two speeds; the file is the same each time."""
    target = tmp_path / "choice.svg"
    asked = (*ASKED, "--figure", str(target), "--quiet")
    assert run_rosin(*asked, folder=tmp_path).exit_code == 0
    first = target.read_bytes()
    drawn = first.decode()
    for words in ("static layers", "hybrid", "gpt-oss-120b", "tokens/s", "with the range for"):
        assert words in drawn
    assert run_rosin(*asked, folder=tmp_path).exit_code == 0
    assert target.read_bytes() == first


def test_plain_llama_cpp_is_named_where_another_program_is_best(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who has llama.cpp alone sees its best command, too."""
    data = json_of(capsys, *ASKED)
    text = text_of(capsys, *ASKED)
    is_plain = data["arms"][0]["program"] == "llama.cpp"
    assert ("best by llama.cpp alone" in text) is not is_plain


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("choose", "--model", "gpt-oss-120b"), "needs --model and --machine"),
        ((*ASKED, "--set", "believed_cost=code"), "--set believed_cost"),
        ((*ASKED, "--acceptance", "2"), "acceptance_fraction must be between 0 and 1"),
        ((*ASKED, "--draft-cost", "inf"), "cost_fraction must be at most 1000"),
        ((*ASKED, "--prompt-tokens", "99999999999"), "--prompt-tokens must be at most 16,777,216"),
        (("choose", "--machine", PC, "--model", "qwen3-8b"), "has no experts"),
        (("accuracy", "rows.csv", "--cases", "none.csv"), "rows.csv: No such file"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Each mistake is one line that says what would be right."""
    assert_one_line_error(run_rosin(*words, folder=tmp_path), message)


def test_memory_without_a_disk_names_the_disk(tmp_path: Path) -> None:
    """What fits neither memory is no plan, and a disk is what could change that."""
    result = run_rosin("choose", "--machine", PC, "--model", "deepseek-v3", folder=tmp_path)
    assert (result.exit_code, result.err.count("\n")) == (3, 1)
    assert "states no disk to read the rest from" in result.err


def test_accuracy_of_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--cases adds the choices and their summary, in JSON and in words."""
    rows = [asdict(row) for row in synthetic_rows()]
    for row in rows:
        row["machine"] = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"
    _write(tmp_path / "rows.csv", rows)
    arms = [
        row
        | {
            "case": row["model"],
            "phase": "decode",
            "arm": row["args"],
            "tokens_per_s": row["decode_tokens_per_s"],
        }
        for row in rows
        if str(row["id"]).startswith("plain")
    ]
    _write(tmp_path / "cases.csv", arms)
    words = ("accuracy", str(tmp_path / "rows.csv"), "--cases", str(tmp_path / "cases.csv"))
    data = json_of(capsys, *words)
    assert [case["case"] for case in data["cases"]] == ["qwen3-30b-a3b", "qwen3-235b-a22b"]
    assert data["case_summary"]["num_chosen"] == 2
    assert "2 of 2 cases" in text_of(capsys, *words)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
