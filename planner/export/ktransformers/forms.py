"""What KTransformers reads: the command of its server."""

import shlex
from collections.abc import Callable, Mapping

from planner.export.runtime_command import RuntimeCommand

PROGRAM = "python -m sglang.launch_server"


def args_text(command: RuntimeCommand) -> str:
    """Return the command of the server, ready to paste."""
    return command.line(PROGRAM) + "\n"


FORMS: Mapping[str, Callable[[RuntimeCommand], str]] = {"args": args_text}
"""How each form of KTransformers is written."""


def arguments_in(form: str, text: str) -> str:
    """Return the line of arguments that a text of that form stands for."""
    assert form in FORMS
    return shlex.join(shlex.split(text.replace(PROGRAM, "", 1)))
