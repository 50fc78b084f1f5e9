"""`rosin`, `rosin --help` and `rosin --version`, and that help is quick because it loads nothing."""

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from rosin import __version__
from rosin.__main__ import main
from rosin.cli.app import build_app
from tests.rosin.command_line import run_python

HEAVY = {
    "gguf",
    "hwprofiles",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "planner",
    "rich",
    "scipy",
    "sim",
    "simpy",
    "torch",
    "validation",
    "yaml",
}
SHARED_OPTIONS = {"--json", "--seed", "--quiet"}
LOADED_AFTER_HELP = """
import json, sys
from rosin.__main__ import main
main(sys.argv[1:])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        [],
        ["machines", "--help"],
        ["models", "--help"],
        ["models", "import", "-h"],
        ["simulate", "-h"],
        ["compare", "-h"],
        ["plan", "-h"],
        ["reproduce", "-h"],
        ["measure", "-h"],
        ["calibrate", "-h"],
        ["policies", "-h"],
        ["whatif", "-h"],
        ["kv-replay", "-h"],
        ["export", "-h"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    """Help needs the parser alone: no package of ours that computes, and none of theirs."""
    result = run_python("-c", LOADED_AFTER_HELP, *arguments, folder=tmp_path)
    *help_lines, loaded = result.out.splitlines()
    assert help_lines[0].startswith("Usage: rosin")
    assert HEAVY & set(json.loads(loaded)) == set()


def test_help_is_the_answer_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """`rosin` alone prints what `rosin --help` prints, to stdout, and succeeds."""
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == alone


def test_help_is_not_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's line in the help is whole."""
    for arguments in ([], ["models"]):
        main([*arguments, "--help"])
        assert "...\n" not in capsys.readouterr().out.partition("Commands:")[2]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """One line: the program and a version number."""
    assert main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out == f"rosin {__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_every_command_takes_the_shared_options() -> None:
    """--json, --seed and --quiet belong to every command there is, however deep, and each says in
    help what it does.
    """
    found = dict(_leaves(get_command(build_app()), ""))
    assert {
        "compare",
        "machines show",
        "machines new",
        "models show",
        "models import",
        "policies",
        "simulate",
    } <= set(found)
    for name, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert options >= SHARED_OPTIONS, name
        assert all(parameter.help for parameter in command.params), name
        assert command.help, name


def _leaves(command: object, path: str):  # type: ignore[no-untyped-def]  # typer's command types are private
    """The commands that are no groups, by their words."""
    for name, child in getattr(command, "commands", {}).items():
        words = f"{path} {name}".strip()
        if hasattr(child, "commands"):
            yield from _leaves(child, words)
        else:
            yield words, child
