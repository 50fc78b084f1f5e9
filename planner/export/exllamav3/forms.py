"""Arguments of exllamav3 as words, and the command of its chat (model_init.py at 0148de299)."""

from collections.abc import Iterator
from typing import Any

from planner.export.runtime_command import command_form, command_reader
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


FORMS = command_form(PROGRAM)
arguments_in = command_reader(PROGRAM)
