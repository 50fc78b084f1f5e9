"""Names and examples in help, and completion in shells."""

import re
import shlex

import pytest
from typer.main import get_command

from rosin.__main__ import main
from rosin.cli.app import COMMANDS, build_app
from rosin.cli.completion import VARIABLE
from rosin.cli.help_text import EXAMPLES, QUANTIZATIONS, ROUTINGS, RUNTIMES
from sim.model.importers.schemes.names import nearest_scheme
from sim.routing.library import shipped_names
from sim.runtimes import READERS
from tests.rosin.command_line import start_rosin


def test_names_in_help_are_those_of_the_libraries() -> None:
    """Help loads no library, so its lists are written down: they must be the libraries' own."""
    known = nearest_scheme("no such thing at all").removeprefix("; known: ")
    assert sorted(QUANTIZATIONS) == sorted(known.split(", "))
    assert list(ROUTINGS) == shipped_names()
    assert set(RUNTIMES) == set(READERS)


def test_help_lists_names(capsys: pytest.CaptureFixture[str]) -> None:
    """`rosin --help` names quantisations, runtimes and routings."""
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in ("Q4_K_M", "AWQ", "ik_llama.cpp", "qwen3-next-80b-a3b", "--completion"):
        assert name in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its help ends with a command line whose options the command has."""
    assert main([name, "--help"]) == 0
    assert EXAMPLES[name] in " ".join(capsys.readouterr().out.split())
    command = get_command(build_app([name])).commands[name]
    words = shlex.split(EXAMPLES[name])[2:]
    while hasattr(command, "commands"):
        command = command.commands[words[0] if words[0] in command.commands else "show"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script hands the words to rosin by the variable that rosin looks for."""
    assert main(["--completion", shell]) == 0
    assert VARIABLE in capsys.readouterr().out


def test_unknown_shell_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the shells there are."""
    assert main(["--completion", "tcsh"]) == 2
    assert re.search("bash", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("rosin sim", "simulate"),
        ("rosin simulate --mach", "--machine"),
        ("rosin simulate --model mixtral-8x2", "mixtral-8x22b"),
        ("rosin simulate --policy fid", "fiddler"),
        ("rosin plan --quantization Q4_K", "Q4_K_M"),
    ],
)
def test_words_are_completed(words: str, found: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """What bash asks is answered with the command, the option or the name."""
    count = len(words.split()) - 1
    asked = {VARIABLE: "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    result = start_rosin(folder=tmp_path, variables=asked)
    assert found in result.out.split()
