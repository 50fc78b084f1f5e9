"""`rosin plan`: a plan that `rosin simulate` repeats to the nanosecond, and a page that needs no
manual.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from planner.search.objectives import OBJECTIVES
from planner.search.steps import Step
from rosin.__main__ import main
from rosin.cli.failures import ExitCode
from rosin.cli.progress import SearchProgress
from rosin.report.json_documents import PlanResult
from sim.policies import POLICIES
from tests.rosin.command_line import checked_result
from tests.rosin.scenarios import SMALL, json_of, text_of

PLAN = ("plan", *SMALL)
WIDE = (
    "plan",
    "--model",
    "qwen3-30b-a3b",
    "--machine",
    "server-8ch-ddr5-rtx-4090",
    "--prompt-tokens",
    "8",
    "--output-tokens",
    "2",
)


def test_json_is_as_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The contract's keys, every named system among the rivals, and the plan as its file has it."""
    target = tmp_path / "plan.yaml"
    data = json_of(capsys, *PLAN, "-o", str(target))
    checked_result(PlanResult, data)
    assert data["plan"] == yaml.safe_load(target.read_text(encoding="utf-8"))
    assert data["path"] == str(target)
    assert {rival["policy"] for rival in data["rivals"]} == set(POLICIES)
    assert all(
        (rival["metrics"] is None) != (rival["missing_bytes"] is None) for rival in data["rivals"]
    )
    could_be = [
        rival
        for rival in data["rivals"]
        if POLICIES[rival["policy"]].is_lossless and not POLICIES[rival["policy"]].knows_future
    ]
    assert max(rival["speed_fraction"] or 0 for rival in could_be) <= 1
    assert all(
        1 <= rival["num_draws"] <= data["num_draws"] for rival in data["rivals"] if rival["metrics"]
    )
    assert (
        data["clairvoyant_bound_s"] <= data["static_bound_s"] <= data["predicted"]["end_to_end_s"]
    )


@pytest.mark.parametrize("objective", [*OBJECTIVES])
def test_simulate_repeats_the_plan(
    objective: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`rosin simulate --plan` gives the same digest and metrics, in the same folder and in another."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    planned = json_of(
        capsys,
        *PLAN,
        "--objective",
        objective,
        "--price-per-hour",
        "2",
        "--seed",
        "3",
        "-o",
        "plan.yaml",
    )
    assert planned["objective"] == objective
    again = json_of(capsys, *shlex.split(planned["command"])[1:])
    monkeypatch.chdir(there)
    elsewhere = json_of(capsys, "simulate", "--plan", "../here/plan.yaml")
    for simulated in (again, elsewhere):
        assert (simulated["timeline_digest"], simulated["metrics"]) == (
            planned["timeline_digest"],
            planned["predicted"],
        )


def test_own_machine_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan for a machine file and changed numbers runs from another folder too."""
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("mine.yaml").write_text(_machine_file("desktop-rtx-4090-ddr5"), encoding="utf-8")
    words = (
        "--model",
        "mixtral-8x7b",
        "--machine",
        "mine.yaml",
        "--prompt-tokens",
        "8",
        "--output-tokens",
        "2",
    )
    planned = json_of(
        capsys, "plan", *words, "--set", "link.h2d.bytes_per_s=40e9", "-o", "plan.yaml"
    )
    monkeypatch.chdir("sub")
    simulated = json_of(capsys, "simulate", "--plan", "../plan.yaml")
    assert (simulated["timeline_digest"], simulated["metrics"]) == (
        planned["timeline_digest"],
        planned["predicted"],
    )


def _machine_file(name: str) -> str:
    from importlib import resources

    return (resources.files("hwprofiles") / "machines" / f"{name}.yaml").read_text(encoding="utf-8")


def test_slots_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --expert-slots-per-layer the plan holds so many of each layer, and runs again so."""
    target = tmp_path / "plan.yaml"
    planned = json_of(
        capsys, *PLAN, "--expert-slots-per-layer", "1", "--objective", "tpot", "-o", str(target)
    )
    simulated = json_of(capsys, "simulate", "--plan", str(target))
    assert simulated["timeline_digest"] == planned["timeline_digest"]
    assert planned["predicted"]["num_resident_experts"] == 32


def test_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In 80 columns: what was asked, the plan, each named system on one line, the limit, the basis,
    and where the file is.
    """
    monkeypatch.chdir(tmp_path)
    text = text_of(capsys, *PLAN, "-o", "plan.yaml")
    for words in (
        "asked for: the most output tokens per second",
        "experts on the GPU",
        "What limits it: CPU",
        "proven for the whole run: within",
        "numbers of the machine: ",
        "Written to plan.yaml",
        "rosin simulate --plan plan.yaml",
        "68.3 GB",
    ):
        assert words in text
    starts = [line.split(" ")[0] for line in text.splitlines()]
    assert all(starts.count(policy) == 1 for policy in POLICIES)
    assert os.listdir() == ["plan.yaml"]


def test_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert captured.err.startswith(
        "error: no feasible plan: no combination of parts fits, nearest is: "
    )
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
        (["--max-ttft", "0"], "--max-ttft must be above 0, got 0"),
        (["--reserve-vram", "1TiB"], "--reserve-vram must be less than the GPU's 25.4 GB"),
        (["--reserve-vram", "much"], "--reserve-vram much: "),
        (["--draws", "0"], "--draws must be at least 1"),
        (["--amortize-hours", "100"], "states no price_usd"),
        (["--amortize-hours", "100", "--price-per-hour", "1"], "give one"),
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
    assert (
        main(["simulate", "--plan", str(target), "--model", "qwen3-30b-a3b"])
        == ExitCode.WRONG_INPUT
    )
    error = capsys.readouterr().err
    assert (
        error
        == f"error: {target}: policy.placement.experts: placement names 32 layers, qwen3-30b-a3b has 48\n"
    )


def test_progress_line(capsys: pytest.CaptureFixture[str]) -> None:
    """At a terminal one line of at most 79 characters, taken away at the end; elsewhere nothing."""
    step = Step(doing="4 draws", num_done=1, num_in_all=2, policy=None, metrics=None)
    shown = SearchProgress("throughput", is_shown=True)
    shown(step)
    assert shown.line == "[##########..........] 4 draws; best: none yet"
    shown.close()
    assert capsys.readouterr().err.endswith("\r\x1b[K")
    silent = SearchProgress("throughput", is_shown=False)
    silent(step)
    silent.close()
    assert capsys.readouterr().err == ""


def test_progress_says_the_time_left() -> None:
    """Of what is being done now, as the steps before it of the same kind took."""
    seconds = iter([0.0, 5.0, 9.0, 13.0])
    shown = SearchProgress("throughput", is_shown=False, clock=lambda: next(seconds))
    for doing, done in (("closed form", 1), ("4 draws", 1), ("4 draws", 2)):
        shown(Step(doing=doing, num_done=done, num_in_all=4, policy=None, metrics=None))
        expected = {1: "12 s left", 2: "8 s left"}[done] if doing == "4 draws" else "15 s left"
        assert expected in shown.line


def test_constraints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is reserved is left free, the price is the hour's by the tokens of an hour, and the plan
    file keeps both.
    """
    target = tmp_path / "plan.yaml"
    words = (
        "--reserve-vram",
        "4GiB",
        "--max-ttft",
        "30",
        "--price-per-hour",
        "0.5",
        "--objective",
        "cost",
        "--lossless",
    )
    data = json_of(capsys, *PLAN, *words, "-o", str(target))
    assert data["constraints"] == {
        "max_ttft_s": 30.0,
        "reserve_vram_bytes": 4 * 2**30,
        "is_lossless": True,
    }
    assert data["memory"]["total_bytes"] == pytest.approx(25.4e9 - 4 * 2**30, rel=0.01)
    tokens_an_hour = data["predicted"]["output_tokens_per_s"] * 3600
    assert data["usd_per_million_output_tokens"] == pytest.approx(0.5 / tokens_an_hour * 1e6)
    assert json_of(capsys, "simulate", "--plan", str(target))["metrics"] == data["predicted"]
    again = json_of(capsys, "plan", "--plan", str(target))
    assert (again["constraints"], again["objective"], again["predicted"]) == (
        data["constraints"],
        "cost",
        data["predicted"],
    )


def test_no_plan_meets_the_constraint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, one line with the best that is reachable, and no file; that best is then
    reachable indeed.
    """
    target = tmp_path / "plan.yaml"
    assert main([*PLAN, "--max-ttft", "0.001", "-o", str(target)]) == ExitCode.INFEASIBLE
    error = capsys.readouterr().err
    assert error.startswith("error: no plan meets --max-ttft 0.001 s: the best reaches ")
    assert error.count("\n") == 1
    assert os.listdir(tmp_path) == []
    reached_s = float(error.split("(")[1].split(" s)")[0])
    assert (
        json_of(capsys, *PLAN, "--max-ttft", str(reached_s * 1.001))["predicted"]["ttft_s"]
        <= reached_s * 1.001
    )


def test_without_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    """The same plan, all that is proven null."""
    with_bounds, without = json_of(capsys, *PLAN), json_of(capsys, *PLAN, "--no-bounds")
    assert without["predicted"] == with_bounds["predicted"]
    names = (
        "static_bound_s",
        "clairvoyant_bound_s",
        "gap_to_static_bound_fraction",
        "gap_to_clairvoyant_bound_fraction",
        "shadow_prices",
    )
    assert all(without[name] is None and with_bounds[name] is not None for name in names)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C while a process searches: it ends well, says that it was stopped, and the plan it
    wrote can be simulated.
    """
    target = tmp_path / "plan.yaml"
    words = (
        "--model",
        "deepseek-v3",
        "--machine",
        "h100",
        "--quantization",
        "4bit",
        "--set",
        "cpu.memory_bytes=2e12",
    )
    command = (
        sys.executable,
        "-m",
        "rosin",
        "plan",
        *words,
        "--output-tokens",
        "256",
        "-o",
        str(target),
        "--json",
        "-",
    )
    interrupted = (sys.executable, "-c", INTERRUPTED_AFTER_A_RUN, *command[3:])
    done = subprocess.run(interrupted, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning: the search was stopped" in done.stderr
    data = json.loads(done.stdout)
    assert data["is_stopped"] and data["plan"]["is_stopped"]
    assert yaml.safe_load(target.read_text(encoding="utf-8"))["is_stopped"]


INTERRUPTED_AFTER_A_RUN = """
import os, signal, sys
from planner.search.trials import Trials
from rosin.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
run = Trials.metrics_of
def run_and_interrupt(trials, trial, number):
    if trial.policy.name == "hybrimoe":
        os.kill(os.getpid(), signal.SIGINT)
    return run(trials, trial, number)
Trials.metrics_of = run_and_interrupt
sys.exit(main(sys.argv[1:]))
"""
"""A `rosin` that gets SIGINT from outside the search's own code, once systems that fit have run."""


def test_offers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several schemes: the plan takes one and says what each would give, on the page too; simulated
    again, it is that one.
    """
    target = tmp_path / "plan.yaml"
    data = json_of(capsys, *PLAN, "--no-bounds", "--quantization", "8bit,4bit", "-o", str(target))
    checked_result(PlanResult, data)
    assert [(offer["quantization"], offer["is_chosen"]) for offer in data["offers"]] == [
        ("8bit", False),
        ("4bit", True),
    ]
    assert data["offers"][0]["speed_fraction"] < 1 == data["offers"][1]["speed_fraction"]
    assert (
        data["plan"]["setting"]["quantization"],
        data["plan"]["setting"]["offered_quantizations"],
    ) == ("4bit", ["8bit", "4bit"])
    again = json_of(capsys, *shlex.split(data["command"])[1:])
    assert (again["scenario"]["quantization"], again["metrics"]) == ("4bit", data["predicted"])
    page = text_of(capsys, "plan", "--plan", str(target), "--no-bounds", "--draws", "1")
    assert "stored in 4bit, of 8bit, 4bit that were offered" in page
    assert "answers differ with how weights are stored" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("simulate", "--policy", "fiddler", "--quantization", "8bit,4bit"),
            "--quantization 8bit,4bit: one is taken here",
        ),
        (("plan", "--quantization", "8bit,8bit"), "--quantization 8bit,8bit: 8bit is there twice"),
        (("plan", "--quantization", "8bit,"), "an empty name"),
        (
            ("plan", "--quantization", "8bit,9bit"),
            "no quantisation scheme named '9bit'; did you mean '8bit'?",
        ),
        (
            ("plan", "--cpu-threads", "0"),
            "--cpu-threads must be whole numbers of at least 1, got 0",
        ),
    ],
)
def test_offers_that_cannot_be(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what would be right, before anything is searched."""
    command, *options = words
    assert main([command, *SMALL, *options]) == ExitCode.WRONG_INPUT
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
