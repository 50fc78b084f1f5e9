"""Slips that people make, and what they are told: one line, exit code 2, and what would be right."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hwprofiles import Machine, load_machine, machine_names
from hwprofiles.errors import closest
from hwprofiles.units import GB, GIB
from planner.search.plan import load_plan
from rosin.__main__ import main
from tests.rosin.command_line import ROOT, assert_one_line_error, run_rosin
from tests.rosin.scenarios import SMALL, json_of, text_of

OWN_POLICY = """
from dataclasses import dataclass, replace

from sim.policies import Prefetch, find_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken(Prefetch):
    def predict(self, foresight):
        return 1 / 0


BROKEN = replace(find_policy("lru"), name="broken", prefetch=Broken())
"""
WORKLOAD = ("--model", "llama-3.1-8b", "--machine", "h100", "--workload")
CHAT = "lmbenchmark-long-in-short-out"


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    """Where stdout takes no more, that is said, without a traceback at the end."""
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "rosin", "policies"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert finished.returncode == 2
    assert finished.stderr == "error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpus", "0"], "--gpus: must be at least 1, got 0"),
        (["--trace", "x.txt"], "x.txt: a trace's name must end in .pftrace"),
        (["-o", "x.txt"], "-o x.txt: a plan file's name must end in .yaml"),
    ],
)
def test_simulate_refuses(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be is said before any work, in the words of the option."""
    assert main(["simulate", *SMALL, "--policy", "fiddler", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", *SMALL, "-o", "x.txt"],
        ["routing", "fit", "trace.npz", "-o", "x.txt"],
        ["kv-plan", *WORKLOAD, CHAT, "-o", "x.txt"],
        ["kv-plan", *WORKLOAD, CHAT, "--kv-file", "x.txt"],
        ["measure", "-o", "x.txt"],
        ["calibrate", "plan.yaml", "--machine", "h100", "-o", "x.txt"],
        ["models", "import", "config.json", "-o", "x.txt"],
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)
def test_yaml_is_written_to_yaml(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A file whose name would not say what it is is refused before any work."""
    assert main(arguments) == 2
    assert re.search(r"x\.txt: .*\.yaml", capsys.readouterr().err)


def test_far_number_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate a million times too small is likely a forgotten unit; one that is ten times is not."""
    assert main(["machines", "h100", "--set", "cpu.memory_bytes_per_s=200", "--quiet"]) == 0
    slip = "cpu.memory_bytes_per_s=200"
    [warning] = load_machine("h100", [slip]).assumptions[-1:]
    assert warning.startswith(f"{slip} is ") and "is a unit missing" in warning
    own = load_machine("h100").assumptions
    assert load_machine("h100", ["link.h2d.bytes_per_s=5e9"]).assumptions == own


def test_error_in_own_policy_names_file_and_line(tmp_path: Path) -> None:
    """What a part of one's own raises is said with its file and line, not as a bug of ours."""
    (tmp_path / "own.py").write_text(OWN_POLICY, encoding="utf-8")
    result = run_rosin("simulate", *SMALL, "--policy", "own:BROKEN", folder=tmp_path)
    assert_one_line_error(result, "own.py, line 10, in predict", "ZeroDivisionError")
    (tmp_path / "slip.py").write_text("\n\nx = 1 / 0\n", encoding="utf-8")
    result = run_rosin("policies", "slip:X", folder=tmp_path)
    assert_one_line_error(result, "slip.py, line 3", "ZeroDivisionError")


@pytest.mark.parametrize(
    ("name", "choices", "hint"),
    [
        ("mem", ["name", "memory_bytes", "count"], "; did you mean 'memory_bytes'?"),
        ("q5", ["Q5_0", "Q5_K_M", "Q4_0"], "; did you mean 'Q5_0' or 'Q5_K_M'?"),
        ("vllm", ["lru", "fiddler"], "; known: fiddler, lru"),
        ("fidler", ["lru", "fiddler"], "; did you mean 'fiddler'?"),
        ("foo", ["cpu", "disk", "gpu", "host"], "; known: cpu, disk, gpu, host"),
    ],
)
def test_hints_make_sense(name: str, choices: Sequence[str], hint: str) -> None:
    """A slip gets its name, a part of names those that have it, anything else the list."""
    assert closest(name, choices) == hint


def test_every_broken_limit_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A model too large for the GPU and for the host, which states no disk, is told of both."""
    arguments = ["--model", "kimi-k2", "--machine", "fmoe-6x3090"]
    assert main(["simulate", *arguments, "--policy", "all-on-gpu"]) == 3
    error = capsys.readouterr().err
    assert "do not fit one GPU" in error and "host memory would hold at least" in error
    assert error.count("too much") == 2


def test_simulate_writes_a_plan_of_a_named_system(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan runs again to the same timeline; calibrate and validate take such files."""
    path = str(tmp_path / "fiddler.yaml")
    first = json_of(capsys, "simulate", *SMALL, "--policy", "fiddler", "-o", path)
    assert load_plan(Path(path)).policy.name == "fiddler"
    again = json_of(capsys, "simulate", "--plan", path)
    assert again["timeline_digest"] == first["timeline_digest"]


def test_fewer_requests_than_warm_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Where all requests would only warm up, that is said."""
    assert main(["simulate", *WORKLOAD, CHAT, "--requests", "20"]) == 2
    assert "the first 20 only warm caches up" in capsys.readouterr().err


def test_leaving_offloading_off_is_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table is printed, no file of tiers is written, and the serving file runs, though the one
    that was offered had rules for tiers.
    """
    serving, tiers, best = (str(tmp_path / name) for name in ("in.yaml", "kv.yaml", "best.yaml"))
    Path(serving).write_text(
        "format: rosin-serving/1\ntiers:\n- {name: cpu, capacity_bytes: 100GB}\n"
        "offload: {chunk_tokens: 512}\n",
        encoding="utf-8",
    )
    asked = [*WORKLOAD, CHAT, "--requests", "40"]
    assert main(["kv-plan", *asked, "--serving", serving, "-o", best, "--kv-file", tiers]) == 0
    said = capsys.readouterr()
    assert "Leave offloading off" in said.out and "--kv-file was not written" in said.err
    assert not Path(tiers).exists()
    text_of(capsys, "simulate", *asked, "--serving", best)


def test_words_of_a_machine_are_its_numbers() -> None:
    """What a description says of memory is what the file's numbers say."""
    for name in machine_names():
        machine = load_machine(name)
        for words, memory_bytes in _stated(machine):
            assert memory_bytes is not None, f"{name}: {words}"
            assert abs(memory_bytes / _size(words) - 1) < 0.1, f"{name}: {words}"


def _stated(machine: Machine) -> list[tuple[str, float | None]]:
    """Sizes in the description, each with the number that it must be."""
    host = machine.cpu.memory_bytes
    host_bytes = None if host is None else host.effective
    found = re.findall(r"\d+ (?:GiB|GB|TB)(?= of DDR|$|\.$)", machine.description)
    pairs: list[tuple[str, float | None]] = [(words, host_bytes) for words in found]
    gpu = re.search(r"(\d+) GB (?:\(|on |in |\d|180)", machine.description)
    if gpu is not None and f"{gpu[1]} GB" not in found:
        pairs.append((f"{gpu[1]} GiB", machine.gpu.memory_bytes.effective))
    return pairs


def _size(words: str) -> float:
    number, unit = words.split()
    return float(number) * {"GiB": GIB, "GB": GB, "TB": 1000 * GB}[unit]
