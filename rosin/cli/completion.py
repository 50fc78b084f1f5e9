"""Completion of commands, options and names in bash, zsh and fish."""

import os
from collections.abc import Iterator
from typing import Any

VARIABLE = "_ROSIN_COMPLETE"
"""The environment variable that the shell's script sets when it asks for completions."""
SHELLS = ("bash", "zsh", "fish")


def is_asked() -> bool:
    """Return whether the shell asks for completions, instead of a person running a command."""
    return VARIABLE in os.environ


def answer(command: Any, program: str) -> None:
    """Print the completions of the words that the shell's environment variables hold."""
    import typer.completion

    completion: Any = typer.completion
    # The application adds no completion options of typer's, so typer has not registered its shells
    # yet.
    completion.completion_init()
    command.main(args=[], prog_name=program, complete_var=VARIABLE)


def script(program: str, shell: str) -> str:
    """Return the script that a shell evaluates to get completion.

    Raises InputError for an unknown shell.
    """
    import typer.completion

    from hwprofiles.errors import unknown_name

    if shell not in SHELLS:
        raise unknown_name("shell", shell, SHELLS)
    completion: Any = typer.completion
    text: str = completion.get_completion_script(
        prog_name=program, complete_var=VARIABLE, shell=shell
    )
    return text


def model_names(incomplete: str) -> Iterator[str]:
    """Yield the models of the library whose names begin with that text."""
    # Only a shell that completes a name waits for the library.
    from sim.model.library import model_names as known

    yield from (name for name in known() if name.startswith(incomplete))


def machine_names(incomplete: str) -> Iterator[str]:
    """Yield the machines of the library whose names begin with that text."""
    from hwprofiles import machine_names as known

    yield from (name for name in known() if name.startswith(incomplete))


def policy_names(incomplete: str) -> Iterator[str]:
    """Yield the policies of the table whose names begin with that text."""
    from sim.policies import POLICIES

    yield from (name for name in POLICIES if name.startswith(incomplete))


def quantization_names(incomplete: str) -> Iterator[str]:
    """Yield the schemes whose names begin with that text."""
    from rosin.cli.help_text import QUANTIZATIONS

    yield from (name for name in QUANTIZATIONS if name.startswith(incomplete))
