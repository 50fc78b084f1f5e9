"""Options whose help shows no default, since the text says what happens without the option."""

from collections.abc import Callable, Iterator
from typing import Any

import typer

Complete = Callable[[str], Iterator[str]]


def named(
    option: str,
    metavar: str,
    text: str,
    complete: Complete | None = None,
    *,
    least: float | None = None,
) -> Any:
    """Return the option of that name; ``complete`` lists the values that begin with a text."""
    return typer.Option(
        option,
        metavar=metavar,
        help=text,
        show_default=False,
        autocompletion=complete,
        min=least,
    )


def written(metavar: str, text: str) -> Any:
    """Return the option ``-o``, which names the file or folder that a command writes."""
    return typer.Option("-o", "--output", metavar=metavar, help=text, show_default=False)
