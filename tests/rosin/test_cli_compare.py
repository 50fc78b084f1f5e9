"""`rosin compare`: rows that are those of `rosin simulate`, in order, and a figure when asked."""

import os
from pathlib import Path

import pytest

from planner.search.make import make_plan
from planner.search.objectives import Goal
from planner.search.plan import Setting, save_plan
from rosin.__main__ import main
from rosin.cli.failures import ExitCode
from rosin.report.json_documents import CompareResult
from sim.policies import POLICIES
from tests.rosin.command_line import checked_result
from tests.rosin.scenarios import SMALL, json_of, text_of

THREE = ("--policies", "on-demand,ktransformers,all-on-gpu")
SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def test_json_is_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """Every policy has its row or its reason; the rows are sorted by speed, relative to the
    fastest.
    """
    data = json_of(capsys, "compare", *SMALL)
    checked_result(CompareResult, data)
    assert {row["policy"] for row in data["rows"]} | {
        row["policy"] for row in data["infeasible"]
    } == set(POLICIES)
    speeds = [row["metrics"]["output_tokens_per_s"] for row in data["rows"]]
    assert speeds == sorted(speeds, reverse=True)
    assert [row["speed_fraction"] for row in data["rows"]] == pytest.approx(
        [speed / speeds[0] for speed in speeds]
    )
    assert [row["missing_bytes"] > 0 for row in data["infeasible"]] == [True]
    for row in data["rows"]:
        assert sum(row["overlap_fractions"].values()) == pytest.approx(1)
        assert row["metrics"]["busy_s"][row["busiest_resource"]] == max(
            row["metrics"]["busy_s"].values()
        )


def test_rows_are_those_of_simulate(capsys: pytest.CaptureFixture[str]) -> None:
    """Each policy meets the routing that it would meet alone: same seed, same digest."""
    data = json_of(capsys, "compare", *SMALL, *THREE, "--seed", "2")
    for row in data["rows"]:
        alone = json_of(capsys, "simulate", *SMALL, "--policy", row["policy"], "--seed", "2")
        assert (row["timeline_digest"], row["metrics"]) == (
            alone["timeline_digest"],
            alone["metrics"],
        )


def test_a_parameter_reaches_those_that_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    """--set believed_cost changes Fiddler and leaves the policies alone that know no such thing."""
    plain, changed = (
        json_of(capsys, "compare", *SMALL, "--policies", "fiddler,ktransformers", *words)
        for words in ((), ("--set", "believed_cost=code"))
    )
    before, after = (
        {row["policy"]: row["timeline_digest"] for row in data["rows"]} for data in (plain, changed)
    )
    assert before["ktransformers"] == after["ktransformers"]
    settings = {row["policy"]: row["settings"]["dispatch"] for row in changed["rows"]}
    assert settings == {"fiddler": {"believed_cost": "code"}, "ktransformers": {}}


def test_a_plan_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --plan its policy is compared with the others, in its setting."""
    setting = Setting(
        model="mixtral-8x7b", machine="desktop-rtx-4090-ddr5", prompt_tokens=24, output_tokens=4
    )
    planned = make_plan(setting, Goal(), "0")
    save_plan(planned.plan, tmp_path / "plan.yaml")  # type: ignore[union-attr]  # it fits
    data = json_of(
        capsys, "compare", "--plan", str(tmp_path / "plan.yaml"), "--policies", "ktransformers"
    )
    digests = {row["policy"]: row["timeline_digest"] for row in data["rows"]}
    assert digests[planned.plan.policy.name] == planned.plan.predicted["timeline_digest"]  # type: ignore[union-attr]
    assert len(digests) == 2


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a policy, and for what does not fit a line with its reason."""
    text = text_of(capsys, "compare", *SMALL)
    starts = [line.split(" ")[0] for line in text.splitlines()]
    assert all(starts.count(policy) == 1 for policy in POLICIES)
    assert "These do not fit" in text
    assert "select the same experts" in text


def test_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """When no policy fits, one line names the nearest and by how much it misses."""
    assert (
        main(
            [
                "compare",
                *SMALL,
                "--set",
                "gpu.memory_bytes=1e8",
                "--policies",
                "fiddler,ktransformers",
            ]
        )
        == ExitCode.INFEASIBLE
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: no feasible plan: none of 2 policies fits, nearest is ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_figure(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is of the kind that its name says, alone in its folder, and the same every time."""
    target = tmp_path / f"figure{suffix}"
    arguments = ["compare", *SMALL, *THREE, "--figure", str(target), "--quiet"]
    assert main(arguments) == 0
    first = target.read_bytes()
    assert first.startswith(SIGNATURES[suffix])
    assert os.listdir(tmp_path) == [target.name]
    assert main(arguments) == 0
    assert target.read_bytes() == first
    assert capsys.readouterr().out == ""


def test_figure_has_words_and_units(tmp_path: Path) -> None:
    """The axes say what they show and in which unit, and each policy has its name and speed."""
    from rosin.report.figure_style import check_figure

    target = tmp_path / "figure.svg"
    check_figure(target)
    assert main(["compare", *SMALL, *THREE, "--figure", str(target), "--quiet"]) == 0
    drawn = target.read_text(encoding="utf-8")
    for words in (
        "output, prompt time included (tokens/s)",
        "share of the run (%)",
        "on-demand",
        "ktransformers",
        "copies alone",
    ):
        assert words in drawn


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--figure", "figure.jpg"], "must end in .png, .svg or .pdf"),
        (["--figure", "no/such/folder/figure.png"], "no/such/folder"),
        (["--policies", ","], "name at least one"),
        (["--policies", "fiddler,ktransfomers"], "did you mean 'ktransformers'?"),
        (["--set", "zzz=1"], "any of the policies"),
    ],
)
def test_mistakes(arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one line and exit code 2."""
    assert main(["compare", *SMALL, *THREE, *arguments]) == ExitCode.WRONG_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert fragment in captured.err


def test_several_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    """Policies that know one GPU only stand apart; the others run on two, whose lanes are named and
    count as one kind.
    """
    six = (
        "--model",
        "mixtral-8x7b",
        "--machine",
        "fmoe-6x3090",
        "--prompt-tokens",
        "4",
        "--output-tokens",
        "2",
        "--gpus",
        "2",
        "--split-mode",
        "experts",
    )
    data = json_of(capsys, "compare", *six, "--policies", "lru,daop", "--expert-cache-bytes", "6GB")
    assert [(misfit["policy"], misfit["reason"]) for misfit in data["infeasible"]] == [
        ("daop", "it runs on one GPU only")
    ]
    [row] = data["rows"]
    assert {"gpu1", "h2d1", "d2h1"} < set(row["metrics"]["busy_s"])
    assert not any("h2d1" in names for names in row["overlap_fractions"])
    assert row["metrics"]["num_resident_experts"] == 2 * (3_000_000_000 // 352_321_536)
    assert data["scenario"]["setting"]["gpus"] == 2
    text = text_of(capsys, "simulate", *six, "--policy", "lru")
    assert "copies to GPU 1" in text and max(map(len, text.splitlines())) <= 80


def test_layers_on_several_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    """Several GPUs hold whole layers each unless told otherwise; what cannot run so stands apart."""
    two = ("--machine", "2x RTX 3090 + Threadripper 7960X + 4x32GB DDR5-5200")
    model = ("--model", "mixtral-8x7b", "--quantization", "4bit")
    short = ("--prompt-tokens", "4", "--output-tokens", "2")
    asked = (*model, *two, *short, "--policies", "kt-uniform,daop,fmoe")
    data = json_of(capsys, "compare", *asked, "--gpus", "2")
    assert {misfit["policy"]: misfit["reason"] for misfit in data["infeasible"]} == {
        "daop": "it runs on one GPU only",
        "fmoe": "it has one cache over all layers, for which experts would have to be dealt out",
    }
    stated = json_of(capsys, "compare", *asked, "--layers-by-card", "16,16")
    assert data["rows"] == stated["rows"]
