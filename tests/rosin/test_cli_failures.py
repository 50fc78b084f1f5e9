"""How commands fail: exit codes, one plain line, the nearest valid name."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from hwprofiles import InputError
from rosin.__main__ import main
from rosin.cli.failures import ExitCode, NoFeasiblePlan, exit_code_of
from rosin.cli.field_options import OPTIONS, in_options
from tests.rosin.command_line import ROOT, assert_one_line_error, start_rosin

MISTAKES = [
    (["machnes"], ["'machnes'", "did you mean 'machines'?"]),
    (["frobnicate"], ["'frobnicate'", "machines", "models"]),
    (["machines", "--sead", "1"], ["'--sead'", "did you mean '--seed'?"]),
    (["--versoin"], ["did you mean '--version'?"]),
    (["machines", "--seed", "x"], ["'--seed'", "integer"]),
    (["machines", "--seed"], ["'--seed' requires an argument"]),
    (["machines", "--seed", "-1"], ["'--seed'", "0"]),
    (["machines", "h100", "extra"], ["extra"]),
    (["machines", "h10"], ["'h10'", "did you mean 'h100'?"]),
    (["machines", "missing/h100.yaml"], ["missing/h100.yaml"]),
    (
        ["machines", "h100", "--set", "link.h2d.bytes_per_sec=5e9"],
        ["bytes_per_sec", "did you mean 'bytes_per_s'?"],
    ),
    (["machines", "h100", "--set", "link.h2d.bytes_per_s=fast"], ["fast"]),
    (["machines", "--set", "link.h2d.bytes_per_s=5e9"], ["name the machine"]),
    (
        ["machines", "h100", "--json", "no/such/folder/out.json", "--quiet"],
        ["no/such/folder/out.json"],
    ),
    (["models", "mixtral-8x7c"], ["'mixtral-8x7c'", "did you mean 'mixtral-8x7b'?"]),
    (["models", "mixtral-8x7b", "--quantization", "5bits"], ["5bits"]),
    (["models", "zzz"], ["'zzz'", "rosin models lists"]),
    (["routing"], ["missing command; known: import, fit, stats"]),
    # The list of all policies is longer than a line of a message.
    (["simulate", "--policy", "zzz", "--model", "olmoe-1b-7b", "--machine", "h100"], [", ..."]),
    (["models", "import"], ["'PATH'"]),
    (["models", "import", "config.json", "-o", "model.yaml"], ["config.json"]),
]


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    MISTAKES,
    ids=lambda value: " ".join(value) if value[0][:1] != "'" else "",
)
def test_mistake_is_one_line(
    arguments: list[str], fragments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake gives exit code 2 and one line that names it and, where one is near, the valid
    name.
    """
    assert main(arguments) == ExitCode.WRONG_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for fragment in fragments:
        assert fragment in captured.err


def test_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The whole process says no more than `main` does: no traceback, no usage, no box."""
    assert_one_line_error(start_rosin("machnes", folder=tmp_path), "did you mean 'machines'?")


def _raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("wrong\nkey"), 2, "error: wrong key\n"),
        (typer.BadParameter("Bad."), 2, "error: invalid value: Bad\n"),
        (
            NoFeasiblePlan("no feasible plan: 3 bytes short"),
            3,
            "error: no feasible plan: 3 bytes short\n",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (typer.Abort(), 130, "error: interrupted\n"),
        (
            ZeroDivisionError("by 0"),
            70,
            "error: internal: ZeroDivisionError: by 0; please report (ROSIN_DEBUG=1 shows where)\n",
        ),
        (typer.Exit(5), 5, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_exception_becomes_an_exit_code(
    error: BaseException,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a command raises ends in its exit code and at most one line."""
    monkeypatch.delenv("ROSIN_DEBUG", raising=False)
    assert exit_code_of(_raising(error)) == code
    assert capsys.readouterr().err == line


def test_debugging_shows_the_traceback_of_our_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ROSIN_DEBUG=1 a bug is raised as it is, and a user's mistake still is one line."""
    monkeypatch.setenv("ROSIN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        exit_code_of(_raising(ZeroDivisionError()))
    assert exit_code_of(_raising(InputError("wrong"))) == ExitCode.WRONG_INPUT


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """`rosin machines | head -0` ends like any Unix tool: 128 + SIGPIPE, and not a word."""
    command = f'{sys.executable} -m rosin machines | head -c 0; exit "${{PIPESTATUS[0]}}"'
    finished = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )
    assert (finished.returncode, finished.stderr) == (ExitCode.CLOSED_PIPE, b"")


def test_fields_are_named_by_their_options() -> None:
    """A message of the packages below names fields; the command line names the options that set
    them, and leaves what is no field.
    """
    assert in_options("`max_ttft_s` must be above 0, got 0") == "--max-ttft must be above 0, got 0"
    assert in_options("`device` cuda or `dtypes` q4") == "--device cuda or --dtype q4"
    assert in_options("no `such_field`, no max_ttft_s") == "no `such_field`, no max_ttft_s"


def test_every_option_of_a_field_exists() -> None:
    """Each option in place of a field is one that a command takes."""
    page = ROOT / "docs" / "reference" / "command-line.md"
    text = page.read_text(encoding="utf-8")
    assert [option for option in OPTIONS.values() if option not in text] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("moment", ["finalizer", "exit"])
def test_no_traceback_of_an_interruption_inside_a_callback_of_python(
    error: type[BaseException], moment: str
) -> None:
    """What Python drops after printing it is printed for errors alone."""
    script = f"""
import atexit, weakref
from rosin.cli.stopping import hush_interrupted_callbacks

def fail():
    raise {error.__name__}

class Kept: pass

hush_interrupted_callbacks()
if {moment!r} == "exit":
    atexit.register(fail)
else:
    kept = Kept()
    finalizer = weakref.ref(kept, lambda reference: fail())
    del kept
print("done")
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout == "done\n"
    assert ("Traceback" in ran.stderr) == (error is ValueError)
