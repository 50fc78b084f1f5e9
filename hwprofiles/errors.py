"""What goes wrong in a user's input, said in one line."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A file, name or number from outside is wrong. The message is one line that names the place, the value and what would be right."""


def closest(name: str, choices: Iterable[str]) -> str:
    """A hint for a misspelt name: ``"; did you mean 'x'?"``, or the list of valid names when none is near."""
    names = sorted(choices)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}"


def unknown_name(what: str, name: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is in no list: ``no machine 'h10'; did you mean 'h100'?``."""
    return InputError(f"no {what} named {name!r}{closest(name, choices)}")
