"""`rosin measure` and `rosin calibrate`: what they write, and every mistake in one line with
nothing written.
"""

import json
import os
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import load_machine
from rosin.__main__ import main
from rosin.cli.stage_progress import StageProgress
from rosin.commands.measure.runtime_command import RuntimeMeasure, threads_of
from tests.tiny_config import write_tiny_config

HAS_TORCH = find_spec("torch") is not None and find_spec("safetensors") is not None
needs_torch = pytest.mark.skipif(
    not HAS_TORCH, reason="needs torch and safetensors, from the extra `validate`"
)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A tiny Mixtral."""
    write_tiny_config(tmp_path / "config.json")
    return tmp_path / "config.json"


@pytest.fixture
def is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring takes a second or two."""
    package, module = (
        import_module("validation.measuring"),
        import_module("validation.measuring.measure"),
    )
    from validation.measuring.grid import QUICK

    grid = replace(
        QUICK,
        expert_tokens=(1, 2),
        tokens=(1,),
        contexts=(1, 8),
        prompts=(2,),
        sequences=(1,),
        copy_bytes=(4096, 2**16),
    )
    effort = module.EFFORTS["quick"]
    budget = replace(effort.budget, total_s=2.0, most_rounds=2)
    short = replace(
        effort, grid=grid, cuda_grid=grid, budget=budget, num_gaps=6, num_interference_rounds=1
    )
    monkeypatch.setattr(package, "EFFORTS", {"quick": short})
    around = replace(module.surroundings(), cache_bytes=2**20)
    monkeypatch.setattr(module, "surroundings", lambda: around)


@needs_torch
@pytest.mark.slow
@pytest.mark.usefixtures("is_short")
def test_a_measured_machine_is_a_machine(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is there, the JSON has it too, and `machines`, `simulate` and `plan` take it."""
    file = tmp_path / "mine.yaml"
    words = [
        "measure",
        "-o",
        str(file),
        "--quick",
        "--device",
        "cpu",
        "--models",
        str(model_file),
        "--link-bytes-per-s",
        "3GB/s",
    ]
    assert main([*words, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "emulated" and found["description"].startswith("Emulated accelerator")
    assert found["num_points"] >= found["num_curves"] > 10 and found["num_rounds"] >= 1
    machine = load_machine(str(file))
    assert (
        machine.name == "mine"
        and len(machine.curves) == found["num_curves"]
        and "3 GB/s" in machine.link.name
    )
    scenario = [
        "--model",
        str(model_file),
        "--machine",
        str(file),
        "--prompt-tokens",
        "4",
        "--output-tokens",
        "2",
    ]
    assert main(["machines", str(file)]) == 0
    assert main(["simulate", *scenario, "--policy", "on-demand"]) == 0
    assert main(["plan", *scenario, "-o", str(tmp_path / "plan.yaml")]) == 0
    capsys.readouterr()
    assert (
        main(
            [
                "calibrate",
                str(tmp_path / "plan.yaml"),
                "--machine",
                str(file),
                "-o",
                str(tmp_path / "fitted.yaml"),
                "--rounds",
                "2",
            ]
        )
        == 0
    )
    page = capsys.readouterr().out
    assert (
        "held-out plan" in page
        and "its earlier runs" in page
        and max(map(len, page.splitlines())) <= 80
    )
    assert "Calibrated: rosin calibrate" in load_machine(str(tmp_path / "fitted.yaml")).description


@needs_torch
@pytest.mark.usefixtures("is_short")
def test_the_page_fits_a_terminal(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """80 columns; the emulation, the link's rate, who slows whom, the curves and the file are
    named.
    """
    assert (
        main(
            [
                "measure",
                "-o",
                str(tmp_path / "mine.yaml"),
                "--quick",
                "--device",
                "cpu",
                "--models",
                str(model_file),
            ]
        )
        == 0
    )
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    for words in (
        "Emulated accelerator",
        "It is no GPU",
        "link.h2d.bytes_per_s",
        "h2d busy",
        "attention decode",
        "Written to",
    ):
        assert words in page, words


@needs_torch
@pytest.mark.usefixtures("is_short")
def test_an_interruption_leaves_nothing(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a file nor a temporary one; a file that was there stays as it was."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        import_module("validation.measuring.measure"), "measure_interference", interrupted
    )
    file = tmp_path / "mine.yaml"
    file.write_text("before", encoding="utf-8")
    assert (
        main(
            ["measure", "-o", str(file), "--quick", "--device", "cpu", "--models", str(model_file)]
        )
        == 130
    )
    assert file.read_text(encoding="utf-8") == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml", "config.json"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "missing option '-o'"),
        (["-o", "mine.txt"], "a machine file ends in .yaml"),
        (["-o", "nowhere/mine.yaml"], "cannot write nowhere/mine.yaml: no folder nowhere"),
        (["-o", "mine.yaml", "--device", "gpu"], "no device named 'gpu'"),
        (["-o", "mine.yaml", "--dtype", "fp4"], "--dtype fp4: not measured; bf16, f16, f32 are"),
        (["-o", "mine.yaml", "--models", "mixtral"], "no model named 'mixtral'"),
        (
            ["-o", "mine.yaml", "--link-bytes-per-s", "fast"],
            "--link-bytes-per-s fast: 'fast' is not a number",
        ),
        (
            ["-o", "mine.yaml", "--accelerator-memory", "0"],
            "--accelerator-memory must be from 1 to 1e+18, got 0",
        ),
    ],
)
def test_mistakes_in_measuring(
    words: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, before anything is measured; nothing is written."""
    if not HAS_TORCH and words[2:3] in (["--dtype"], ["--models"]):
        problem = "pip install 'rosin[validate]'"
    monkeypatch.chdir(tmp_path)
    assert main(["measure", *words]) == 2
    error = capsys.readouterr().err
    assert problem in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["plan.yaml", "-o", "out.yaml"], "missing option '--machine'"),
        (["plan.yaml", "--machine", "h100"], "missing option '-o'"),
        (["plan.yaml", "--machine", "h100", "-o", "out.yaml"], "no plan file plan.yaml"),
        (["plan.yaml", "--machine", "h101", "-o", "out.yaml"], "did you mean 'h100'?"),
        (
            ["plan.yaml", "--machine", "h100", "-o", "out.yaml", "--device", "paced"],
            "no device named 'paced'",
        ),
    ],
)
def test_mistakes_in_calibrating(
    words: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, before anything runs; nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", *words]) == 2
    error = capsys.readouterr().err
    assert problem in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_progress_is_one_short_line() -> None:
    """The stage and a bar, in less than 80 columns, however long the stage's name."""
    progress = StageProgress(is_shown=False)
    assert progress.line("operations", 0.5) == "[############............] operations"
    assert progress.line("operations", 1.0).startswith("[########################]")
    assert len(progress.line("x" * 200, 0.1)) < 80


@given(asked=st.none() | st.integers(1, 512), cores=st.integers(1, 128))
def test_a_program_is_measured_with_the_threads_that_plans_have(
    asked: int | None, cores: int
) -> None:
    """Laws of other numbers of threads are used by no plan that does not say -t."""
    machine = load_machine("desktop-rtx-4090-ddr5", (f"cpu.cores={cores}",))
    here = min(cores, os.cpu_count() or 1)
    assert threads_of(RuntimeMeasure(threads=asked), machine) == (asked or here)
