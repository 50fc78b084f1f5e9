"""`rosin plan`: a plan that `rosin simulate` repeats to the nanosecond, and a page that needs no manual."""

import json
import os
import shlex
from pathlib import Path

import pytest
import yaml

from planner.candidates import candidates
from planner.search import OBJECTIVES
from rosin.__main__ import main
from rosin.cli.failures import ExitCode
from rosin.cli.progress import SearchProgress
from rosin.report.json_documents import PlanDocument
from sim.memory import Infeasible
from sim.policies import POLICIES
from tests.rosin.scenarios import SMALL, json_of, text_of

PLAN = ("plan", *SMALL)
WIDE = ("plan", "--model", "qwen3-30b-a3b", "--machine", "server-8ch-ddr5-rtx-4090", "--prompt-tokens", "8", "--output-tokens", "2")


def test_json_is_as_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The contract's keys, every named system among the rivals, and the plan as its file has it."""
    target = tmp_path / "plan.yaml"
    data = json_of(capsys, *PLAN, "-o", str(target))
    PlanDocument.model_validate_json(json.dumps(data), strict=True)
    assert data["plan"] == yaml.safe_load(target.read_text(encoding="utf-8"))
    assert data["path"] == str(target)
    assert {rival["policy"] for rival in data["rivals"]} == set(POLICIES)
    assert all((rival["metrics"] is None) != (rival["missing_bytes"] is None) for rival in data["rivals"])
    assert max(rival["speed_fraction"] or 0 for rival in data["rivals"]) <= 1
    assert data["clairvoyant_bound_s"] <= data["static_bound_s"] <= data["predicted"]["end_to_end_s"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_simulate_repeats_the_plan(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rosin simulate --plan` gives the same digest and metrics, in the same folder and in another."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    planned = json_of(capsys, *PLAN, "--objective", objective, "--seed", "3", "-o", "plan.yaml")
    assert planned["objective"] == objective
    again = json_of(capsys, *shlex.split(planned["command"])[1:])
    monkeypatch.chdir(there)
    elsewhere = json_of(capsys, "simulate", "--plan", "../here/plan.yaml")
    for simulated in (again, elsewhere):
        assert (simulated["timeline_digest"], simulated["metrics"]) == (planned["timeline_digest"], planned["predicted"])


def test_own_machine_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan for a machine file and changed numbers runs from another folder too."""
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("mine.yaml").write_text(_machine_file("desktop-rtx-4090-ddr5"), encoding="utf-8")
    words = ("--model", "mixtral-8x7b", "--machine", "mine.yaml", "--prompt-tokens", "8", "--output-tokens", "2")
    planned = json_of(capsys, "plan", *words, "--set", "link.h2d.bytes_per_s=40e9", "-o", "plan.yaml")
    monkeypatch.chdir("sub")
    simulated = json_of(capsys, "simulate", "--plan", "../plan.yaml")
    assert (simulated["timeline_digest"], simulated["metrics"]) == (planned["timeline_digest"], planned["predicted"])


def _machine_file(name: str) -> str:
    from importlib import resources

    return (resources.files("hwprofiles") / "machines" / f"{name}.yaml").read_text(encoding="utf-8")


def test_slots_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --expert-slots-per-layer the plan holds so many of each layer, and runs again so."""
    target = tmp_path / "plan.yaml"
    planned = json_of(capsys, *PLAN, "--expert-slots-per-layer", "1", "--objective", "tpot", "-o", str(target))
    simulated = json_of(capsys, "simulate", "--plan", str(target))
    assert simulated["timeline_digest"] == planned["timeline_digest"]
    assert planned["predicted"]["num_resident_experts"] == 32


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In 80 columns: what was asked, the plan, each named system on one line, the limit, the basis, and where the file is."""
    monkeypatch.chdir(tmp_path)
    text = text_of(capsys, *PLAN, "-o", "plan.yaml")
    for words in (
        "asked for: the most output tokens per second",
        "experts on the GPU",
        "What limits it: CPU",
        "proven for the whole run: within",
        "Rests on 11 numbers",
        "Written to plan.yaml",
        "rosin simulate --plan plan.yaml",
        "69.3 GB",
    ):
        assert words in text
    starts = [line.split(" ")[0] for line in text.splitlines()]
    assert all(starts.count(policy) == 1 for policy in POLICIES)
    assert os.listdir() == ["plan.yaml"]


def test_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without -o nothing is written, and the page says so."""
    monkeypatch.chdir(tmp_path)
    assert "Not written anywhere" in text_of(capsys, *WIDE, "--objective", "ttft")
    assert os.listdir() == []


def test_nothing_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, one line with the smallest shortage, and no file."""
    target = tmp_path / "plan.yaml"
    assert main([*PLAN, "--set", "gpu.memory_bytes=1e8", "-o", str(target)]) == ExitCode.INFEASIBLE
    captured = capsys.readouterr()
    assert captured.out == ""
    tried = len(list(candidates())) + len(POLICIES)
    assert captured.err.startswith(f"error: no feasible plan: none of {tried} combinations fits, nearest is: ")
    assert captured.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--objective", "cost"], "price_usd"),
        (["--objective", "throughputs"], "did you mean 'throughput'?"),
        (["--set", "believed_cost=code"], "chooses the parameters of policies itself"),
        (["-o", "no/such/folder/plan.yaml"], "no folder no/such/folder"),
        (["--prompt-tokens", "0"], "--prompt-tokens must be at least 1"),
        (["--engine", "slow"], "slow"),
    ],
)
def test_mistakes(arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one line and exit code 2, before any search."""
    assert main([*PLAN, *arguments]) == ExitCode.WRONG_INPUT
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert fragment in captured.err


def test_placement_of_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan's placement does not fit another model: one line that names the file and the key."""
    target = tmp_path / "plan.yaml"
    assert main([*PLAN, "-o", str(target), "--quiet"]) == 0
    assert main(["simulate", "--plan", str(target), "--model", "qwen3-30b-a3b"]) == ExitCode.WRONG_INPUT
    error = capsys.readouterr().err
    assert error == f"error: {target}: policy.placement.experts: placement names 32 layers, qwen3-30b-a3b has 48\n"


def test_progress_line(capsys: pytest.CaptureFixture[str]) -> None:
    """At a terminal one line of at most 79 characters, taken away at the end; elsewhere nothing."""
    shown = SearchProgress("throughput", 2, is_shown=True)
    shown("a-policy", Infeasible(reason="too big", missing_bytes=1))
    assert shown.line == "[##########..........] 1 of 2 tried; best: none fits yet"
    shown.close()
    assert capsys.readouterr().err.endswith("\r\x1b[K")
    silent = SearchProgress("throughput", 2, is_shown=False)
    silent("a-policy", Infeasible(reason="too big", missing_bytes=1))
    silent.close()
    assert capsys.readouterr().err == ""
