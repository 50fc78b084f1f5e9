"""`rosin kv-replay`: rows as documented, sizes and policies as asked, mistakes in one line."""

from pathlib import Path

import pytest

from hwprofiles.units import GIB
from rosin.__main__ import main
from rosin.cli.failures import ExitCode
from rosin.commands.kv_replay.document import KvReplayResult
from sim.model.library import load_model
from sim.serving.kv import EVICTIONS
from tests.rosin.command_line import assert_one_line_error, checked_result, run_rosin
from tests.rosin.scenarios import json_of, text_of
from tests.shared_data import shared_data

SMALL = ("kv-replay", "lmbenchmark-long-in-short-out", "--requests", "60")
MODEL = ("--model", "mixtral-8x7b")
SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def test_rows_of_the_shared_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """The command of the contract gives LMCache's own rates to four digits."""
    trace = str(shared_data("requests/mooncake-conversation.jsonl"))
    words = (
        "--capacity",
        "64GiB,512GiB,inf",
        "--block-tokens",
        "512",
        "--bytes-per-token",
        "131072",
        "--policy",
        "lru",
    )
    data = json_of(capsys, "kv-replay", trace, *words)
    rows = [
        (row["capacity_bytes"], round(row["token_hit_rate"], 4), row["num_evictions"])
        for row in data["rows"]
    ]
    assert rows == [(64 * GIB, 0.0461, 262_433), (512 * GIB, 0.1913, 214_188), (None, 0.3734, 0)]


def test_json_is_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """Every policy with every size in the order asked for; the bytes of a token are the model's; a
    warm-up is not counted.
    """
    data = json_of(capsys, *SMALL, *MODEL, "--policy", "all", "--capacity", "2GiB,inf")
    checked_result(KvReplayResult, data)
    assert [(row["policy"], row["capacity_bytes"]) for row in data["rows"]] == [
        (name, size) for name in EVICTIONS for size in (2 * GIB, None)
    ]
    assert data["bytes_per_token"] == load_model("mixtral-8x7b").kv_bytes_per_token
    assert (data["trace"]["num_requests"], data["trace"]["num_warmup_requests"]) == (40, 20)
    for row in data["rows"]:
        assert row["token_hit_rate"] == pytest.approx(
            row["hit_tokens"] / data["trace"]["prompt_tokens"]
        )


def test_few_pools_and_many_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """A size asked for alone, and among so many that one pass serves all, has the same row."""
    sizes = "1GiB,2GiB,3GiB,5GiB,8GiB,inf"
    many = json_of(capsys, *SMALL, *MODEL, "--capacity", sizes)["rows"]
    alone = [
        json_of(capsys, *SMALL, *MODEL, "--capacity", size)["rows"][0] for size in sizes.split(",")
    ]
    assert many == alone


def test_it_warns_where_nothing_can_be_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list of lengths says nothing of what prompts share."""
    path = tmp_path / "lengths.csv"
    path.write_text("prompt_tokens,output_tokens\n600,2\n600,2\n", encoding="utf-8")
    data = json_of(capsys, "kv-replay", str(path), *MODEL)
    assert "does not say what prompts have in common" in data["warnings"][0]
    assert {row["hit_tokens"] for row in data["rows"]} == {0}
    assert json_of(capsys, *SMALL, *MODEL)["warnings"] == []


def test_it_says_how_much_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """Each sufficient size has its share of the hits without limit; with few pools nothing is said."""
    data = json_of(capsys, *SMALL, *MODEL)
    assert [each["share_fraction"] for each in data["lru_sufficient"]] == [0.5, 0.9, 0.99]
    unlimited = data["rows"][-1]["hit_tokens"]
    for each in data["lru_sufficient"]:
        (row,) = json_of(capsys, *SMALL, *MODEL, "--capacity", str(each["capacity_bytes"]))["rows"]
        assert row["hit_tokens"] >= each["share_fraction"] * unlimited
    assert json_of(capsys, *SMALL, *MODEL, "--capacity", "inf")["lru_sufficient"] == []


def test_latent_attention_takes_its_own_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """A token of DeepSeek-V3 takes 61 layers of 576 elements of 2 bytes."""
    assert (
        json_of(capsys, *SMALL, "--model", "deepseek-v3", "--capacity", "inf")["bytes_per_token"]
        == 61 * 576 * 2
    )


def test_output_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer, and rates and sizes stand in it."""
    monkeypatch.setenv("COLUMNS", "80")
    text = text_of(capsys, *SMALL, *MODEL, "--policy", "all")
    assert max(map(len, text.splitlines())) <= 80
    assert "after 20 requests that warm up" in text and "unlimited" in text


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_figure_in_each_format(suffix: str, tmp_path: Path) -> None:
    """A figure of the named format; as text it is the same each time."""
    names = ("first", "second") if suffix == ".svg" else ("first",)
    for name in names:
        assert (
            main(
                [
                    *SMALL,
                    *MODEL,
                    "--policy",
                    "lru,arc",
                    "--figure",
                    str(tmp_path / f"{name}{suffix}"),
                    "--quiet",
                ]
            )
            == 0
        )
    made = {(tmp_path / f"{name}{suffix}").read_bytes() for name in names}
    assert len(made) == 1 and made.pop().startswith(SIGNATURES[suffix])


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ((*MODEL, "--capacity", "many"), "--capacity many: 'many' is not a number"),
        ((*MODEL, "--capacity", "0"), "--capacity must be from 1 to 1e+18, or inf, got 0"),
        ((*MODEL, "--capacity", ","), "name at least one"),
        ((*MODEL, "--policy", "lfuu"), "no eviction policy named 'lfuu'; did you mean 'lfu'"),
        ((*MODEL, "--order", "tail"), "--order tail: unknown order; did you mean 'tail-first'"),
        ((*MODEL, "--bytes-per-token", "4"), "exactly one of --bytes-per-token N and --model NAME"),
        (("--bytes-per-token", "0"), "bytes_per_token must be at least 1, got 0"),
        ((*MODEL, "--block-tokens", "0"), "block_tokens must be at least 1, got 0"),
        ((*MODEL, "--figure", "x.gif"), "--figure x.gif"),
        (
            (*MODEL, "--requests", "20"),
            "--requests 20: the first 20 only warm up, so more are needed",
        ),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong, and what would be right."""
    assert main([*SMALL, *words]) == ExitCode.WRONG_INPUT
    said = capsys.readouterr()
    assert (
        said.out == ""
        and said.err.startswith("error: ")
        and said.err.count("\n") == 1
        and fragment in said.err
    )


def test_an_unknown_trace_is_named(tmp_path: Path) -> None:
    """The nearest name that ships."""
    result = run_rosin("kv-replay", "lmbenchmark-long", *MODEL, folder=tmp_path)
    assert_one_line_error(
        result, "no requests named 'lmbenchmark-long'; did you mean 'lmbenchmark-long-in-short-out'"
    )
