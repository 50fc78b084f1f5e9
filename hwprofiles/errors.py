"""Errors in a user's input, each said in one line, and hints for misspelt names."""

import difflib
import re
from collections.abc import Iterable

MAX_CHARACTERS = 290
"""The most characters of a message; with ``error:`` before it, a line has less than 300."""
MAX_REASON = 150
"""The most characters that a message quotes of the error text of a library such as PyYAML."""
MAX_PATH = 160
"""The most characters of a file's name in a message."""
MAX_SHOWN = 60
"""The most characters of a value or a key in a message."""
SLIP_RATIO, NEAR_RATIO = 0.85, 0.6
"""The least similarity (difflib's ratio) of a slip of a name, and of a name that is near."""
MIN_PART, MAX_NEAR = 2, 4
"""The fewest characters of a part of a name, and the most names that a hint lists."""
# A word that long is a path or data; its head and its tail say which.
_LONG_WORD = re.compile(r"\S{161,}")
_WORD_HEAD = 110
_WORD_TAIL = 40


class InputError(ValueError):
    """The error that a file, name or number from outside is wrong.

    The message is one line that names the place, the value and what would be right.
    """


def closest(name: str, choices: Iterable[str]) -> str:
    """Return the hint for a misspelt name, such as ``"; did you mean 'x'?"``.

    Where no name is near, the hint lists all valid names.
    """
    names = sorted(choices)
    return near(name, names) or f"; known: {', '.join(names)}"


def near(name: str, choices: Iterable[str]) -> str:
    """Return the hint for a misspelt name, or an empty text where no name is near."""
    found = _near(name.lower()[:MAX_SHOWN], sorted(choices))
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def _near(name: str, names: list[str]) -> list[str]:
    """Return the names that ``name`` may stand for.

    They are the one that differs by a slip, else up to MAX_NEAR that begin with it or contain it,
    else the nearest.
    """
    folded = {each.lower(): each for each in names}
    # A slip goes before a part: a text that is one letter off a name means that name, though others may
    # begin with it.
    slips = difflib.get_close_matches(name, folded, n=1, cutoff=SLIP_RATIO)
    if not slips and len(name) >= MIN_PART:
        begun = [each for each in folded if each.startswith(name)]
        parts = begun or [each for each in folded if name in each]
        # A part of very many names says too little to list them all.
        if 0 < len(parts) <= MAX_NEAR:
            return [folded[each] for each in parts]
    near = slips or difflib.get_close_matches(name, folded, n=1, cutoff=NEAR_RATIO)
    return [folded[each] for each in near]


def unknown_name(what: str, name: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is in no list: ``no machine named 'h10'; did you mean 'h100'?``."""
    return InputError(f"no {what} named {shortened(repr(name))}{closest(name, choices)}")


def shortened(text: str, most: int = MAX_SHOWN) -> str:
    """The text on one line, cut where it is longer than ``most`` characters."""
    # Cut before it is split: the text may be a whole file. Four times, as spaces are folded.
    words = " ".join(text[: 4 * most].split())
    return words if len(words) <= most and len(text) <= 4 * most else f"{words[:most]}..."


def one_line(message: str) -> str:
    """Return the message as one line of at most MAX_CHARACTERS.

    The middle of a very long word is cut first, then the end of the message. Characters that are
    not printable, such as those that move a terminal's cursor, become question marks.
    """
    # Text from a file goes to a terminal, which would obey control characters in it.
    words = "".join(each if each.isprintable() else "?" for each in " ".join(message.split()))
    words = _LONG_WORD.sub(
        lambda found: f"{found[0][:_WORD_HEAD]}...{found[0][-_WORD_TAIL:]}", words
    )
    if len(words) <= MAX_CHARACTERS:
        return words
    # At the end of a word: half a name in a list of names looks like another name.
    return f"{words[: MAX_CHARACTERS - 3].rpartition(' ')[0]} ..."
