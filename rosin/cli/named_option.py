"""Options whose default the help does not show, since it says in words what happens without them."""

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
    """Return the option of that name; ``complete`` lists values that begin as typed."""
    return typer.Option(
        option,
        metavar=metavar,
        help=text,
        show_default=False,
        autocompletion=complete,
        min=least,
    )


def written(metavar: str, text: str) -> Any:
    """Return the option that names what a command writes."""
    return typer.Option("-o", "--output", metavar=metavar, help=text, show_default=False)
