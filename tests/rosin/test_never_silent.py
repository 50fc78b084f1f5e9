"""Every command that may last shows a line while it works.

Both kinds of line move by themselves, so what matters is that one is there: whenever anything is
simulated, drawn or run for real, and whenever Python itself has much to do.
"""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import planner.search.prepare as preparing
from planner.choice import choose
from planner.search.make import bounds_of
from planner.search.search import search
from planner.study.caches import run_cache_study
from rosin.__main__ import main
from rosin.cli.output import Output
from rosin.cli.progress_line import ProgressLine
from rosin.cli.waiting import Waiting
from rosin.report.figure_style import Picture
from sim.routing.base import tokens_per_expert
from sim.step.execute import execute, execute_decided
from tests.rosin.signalled import PC
from tests.rosin.signalled import prepare as write_inputs
from tests.rosin.signalled import prepare_measured as write_measured
from tests.rosin.test_cli_measure import is_short  # noqa: F401  # a fixture
from tests.rosin.test_cli_validate import plan_file  # noqa: F401  # a fixture
from tests.validation.accuracy.synthetic import synthetic_rows

RUN = (
    *("--model", "granite-3-1b-a400m", "--machine", "desktop-rtx-3060-ddr4"),
    *("--prompt-tokens", "8", "--output-tokens", "4"),
)
SERVED = ("--model", "llama-3.1-8b", "--machine", "h100")
TRACE = "lmbenchmark-long-in-short-out"
COMMANDS = (
    ("simulate", *RUN, "--policy", "fiddler"),
    ("simulate", *SERVED, "--workload", TRACE, "--requests", "60"),
    ("plan", *RUN, "--figure", "plan.svg"),
    ("plan", *RUN, "--runtime", "llama.cpp", "--figure", "runtime.svg"),
    ("compare", *RUN, "--policies", "fiddler,lru", "--figure", "compared.svg"),
    ("whatif", *RUN, "--vary", "seed=1,2", "--workers", "1", "-o", "study"),
    ("choose", "--model", "gpt-oss-20b", "--machine", PC, "--figure", "choice.svg"),
    ("caches", "--models", "gpt-oss-20b", "--tokens", "200", "--figure", "caches.svg"),
    ("kv-replay", TRACE, "--model", "llama-3.1-8b", "--requests", "60", "--figure", "kv.svg"),
    (
        *("kv-plan", *SERVED, "--workload", TRACE, "--requests", "60"),
        *("--kv-tier", "cpu=100GB", "--figure", "kv-plan.svg"),
    ),
    ("routing", "fit", "t.npz", "-o", "t.yaml", "--task", "dice", "--figure", "fit.svg"),
    ("routing", "stats", "uniform", "--model", "granite-3-1b-a400m", "--figure", "stats.svg"),
    ("accuracy", "rows.csv", "-o", "accuracy"),
    ("reproduce", "fiddler", "-o", "fiddler"),
    ("report", "study", "-o", "page.html"),
    ("prepare",),
)
WITH_TORCH = (
    ("measure", "--quick", "--device", "cpu", "--models", "config.json", "-o", "here.yaml"),
    ("validate", "plan.yaml", "--quick", "-o", "validated"),
    ("calibrate", "tiny-plan.yaml", "--machine", "tiny.yaml", "--rounds", "1", "-o", "fitted.yaml"),
)
HAS_TORCH = find_spec("torch") is not None and find_spec("safetensors") is not None

MOST_CALLS = 2_000_000
"""Calls of Python functions without a line: below two seconds on any computer of today."""


def _codes(*functions: Callable[..., Any]) -> frozenset[CodeType]:
    return frozenset(function.__code__ for function in functions)


WORK = _codes(
    execute,
    execute_decided,
    tokens_per_expert,
    search,
    bounds_of,
    choose,
    run_cache_study,
    Picture.figure,
    preparing.prepare,
)
"""What may take long, however little Python it calls."""


def _work_of_torch() -> frozenset[CodeType]:
    """Return what may take long with torch. The modules import torch, which may be absent."""
    from validation.calibrating.calibrate import calibrate
    from validation.comparison.trial import PlanTrial, prepare
    from validation.measuring.sampling import sample
    from validation.measuring.workplace import choose_device

    return _codes(calibrate, prepare, PlanTrial.run, choose_device, sample)


class _Watch:
    """Counts what the main thread does while no line is shown."""

    def __init__(self, work: frozenset[CodeType]) -> None:
        self._work = work
        self.num_shown = 0
        self.num_lines = 0
        self.num_calls = 0
        self.most_calls = 0
        self.silent_work: list[str] = []

    def show(self) -> None:
        """A line is there."""
        self.most_calls = max(self.most_calls, self.num_calls)
        self.num_calls = 0
        self.num_lines += 1
        self.num_shown += 1

    def hide(self) -> None:
        """A line is taken away."""
        self.num_shown -= 1

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Count a call."""
        if event != "call" or self.num_shown:
            return
        self.num_calls += 1
        if frame.f_code in self._work:
            self.silent_work.append(frame.f_code.co_qualname)


@contextmanager
def _watching(monkeypatch: pytest.MonkeyPatch, work: frozenset[CodeType]) -> Iterator[_Watch]:
    """Watch what happens inside, as if somebody sat at a terminal; nothing is printed."""
    watch = _Watch(work)
    lines: set[int] = set()

    def show(line: ProgressLine, text: str) -> None:
        """Count a line once, however often it changes."""
        if line._is_shown and id(line) not in lines:
            lines.add(id(line))
            watch.show()

    def close(line: ProgressLine) -> None:
        """Count it as gone."""
        if id(line) in lines:
            lines.remove(id(line))
            watch.hide()

    def enter(line: Waiting) -> Waiting:
        """Count it, where it would be shown."""
        if line._is_shown:
            watch.show()
        return line

    def leave(line: Waiting, *error: object) -> None:
        """Count it as gone."""
        if line._is_shown:
            watch.hide()

    monkeypatch.setattr(Output, "is_watched", property(lambda output: True))
    monkeypatch.setattr(ProgressLine, "show", show)
    monkeypatch.setattr(ProgressLine, "close", close)
    monkeypatch.setattr(Waiting, "__enter__", enter)
    monkeypatch.setattr(Waiting, "__exit__", leave)
    sys.setprofile(watch)
    try:
        yield watch
    finally:
        sys.setprofile(None)
        watch.most_calls = max(watch.most_calls, watch.num_calls)


def _assert_never_silent(
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    work: frozenset[CodeType] = WORK,
) -> None:
    with _watching(monkeypatch, work) as watch:
        code = main(command)
    assert code == 0, capsys.readouterr().err
    assert watch.num_lines
    assert not watch.num_shown
    assert not watch.silent_work
    assert watch.most_calls < MOST_CALLS


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with all that the commands read, which they run in."""
    write_inputs(tmp_path)
    rows = [asdict(row) | {"machine": PC} for row in synthetic_rows()[:40]]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_line_is_shown_while_it_works(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is simulated, planned or drawn without one."""
    if command[0] == "report":
        assert main([*COMMANDS[5], "--quiet"]) == 0
    if command[0] == "prepare":
        # One step of those that it has, in its own process all the same.
        monkeypatch.setattr(preparing.prepare, "__defaults__", (preparing.STEPS[3:3],))
    _assert_never_silent(command, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCH, reason="needs torch and safetensors, from the extra `validate`")
@pytest.mark.usefixtures("inputs", "is_short", "plan_file")
@pytest.mark.parametrize("command", WITH_TORCH, ids=" ".join)
def test_a_line_is_shown_while_torch_works(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measuring and running plans too, from before torch is loaded."""
    if command[0] == "calibrate":
        write_measured(Path())
    _assert_never_silent(command, monkeypatch, capsys, WORK | _work_of_torch())


def test_silence_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command without its line does not pass."""
    monkeypatch.setattr("rosin.commands.compare.command.Output", Output, raising=False)
    monkeypatch.setattr(Output, "waiting", lambda output, *rest: Waiting("", is_shown=False))
    with pytest.raises(AssertionError):
        _assert_never_silent(("compare", *RUN, "--policies", "fiddler,lru"), monkeypatch, capsys)
