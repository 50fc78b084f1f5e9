"""Arguments of exllamav3 as words, and the command of its chat (model_init.py at 0148de299)."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from planner.export.runtime_command import RuntimeCommand
from sim.runtimes.exllamav3.arguments import Exl3Arguments

PROGRAM = "python examples/chat.py"
DEFAULTS = Exl3Arguments()

_FLAGS = (
    ("-mcl", "cpu_layers"),
    ("-mcs", "split_experts"),
    ("-mct", "threads"),
    ("-chunk_size", "chunk_tokens"),
    ("-cs", "context_tokens"),
)


def exl3_words(arguments: Exl3Arguments) -> tuple[str, ...]:
    """Return the arguments as words of a command line; read back, they mean the same."""
    return tuple(word for flag in _changed(arguments) for word in flag)


def _changed(arguments: Exl3Arguments) -> Iterator[tuple[str, str]]:
    for flag, name in _FLAGS:
        value: Any = getattr(arguments, name)
        # Defaults are left out, so that the command shows what the plan decided.
        if value != getattr(DEFAULTS, name):
            yield flag, str(value)


def args_text(command: RuntimeCommand) -> str:
    """Return the command, ready to paste."""
    return command.line(PROGRAM) + "\n"


FORMS: Mapping[str, Callable[[RuntimeCommand], str]] = {"args": args_text}
"""How each form of exllamav3 is written."""


def arguments_in(form: str, text: str) -> str:
    """Return the line of arguments that a text of that form stands for."""
    assert form in FORMS
    return shlex.join(shlex.split(text.replace(PROGRAM, "", 1)))
