"""`rosin caches`: rows and medians as documented, words, mistakes in one line."""

from pathlib import Path

import pytest

from tests.rosin.command_line import assert_one_line_error, run_rosin
from tests.rosin.scenarios import json_of, text_of

ASKED = ("caches", "--models", "gpt-oss-20b,mixtral-8x7b", "--tokens", "500")


def test_study_is_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """Every model has a row a share and policy; medians are over models."""
    data = json_of(capsys, *ASKED, "--shares", "0.25,0.5")
    assert len(data["rows"]) == 2 * 2 * 12
    assert len(data["medians"]) == 2 * 12
    row = next(row for row in data["rows"] if row["policy"] == "optimum")
    assert row["over_optimum"] == 1
    assert row["reads_per_token"] == pytest.approx(row["miss_fraction"] * 4 * 24)


def test_study_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The page has a line a policy and one a model."""
    text = text_of(capsys, *ASKED)
    assert "s3-fifo" in text
    assert "gpt-oss-20b" in text


def test_figure_has_every_policy(tmp_path: Path) -> None:
    """Each policy has its name, each share its part; the file is of the kind that its name says."""
    target = tmp_path / "caches.svg"
    asked = (*ASKED, "--shares", "0.25,0.5", "--figure", str(target), "--quiet")
    assert run_rosin(*asked, folder=tmp_path).exit_code == 0
    drawn = target.read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")
    for words in ("s3-fifo", "optimum", "25 % of experts cached", "50 % of experts cached"):
        assert words in drawn


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*ASKED, "--shares", "0.5,2"), "each must lie between 0 and 1"),
        ((*ASKED, "--layers", "99"), "layers with experts"),
        ((*ASKED, "--figure", "a.txt"), "the name must end in .png, .svg or .pdf"),
        ((*ASKED, "--routing", "a.npz"), "a trace of one model"),
        (("caches", "--models", "qwen3-8b"), "has no experts"),
        (("caches", "--models", "mixtral-8x7b,"), "no model named ''"),
        ((*ASKED, "--tokens", "999999999999"), "--tokens 999999999999: at most 16,777,216"),
        ((*ASKED, "--seed", str(2**63)), f"--seed {2**63}: at most {2**63 - 1}"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Each mistake is one line that says what would be right."""
    assert_one_line_error(run_rosin(*words, folder=tmp_path), message)
