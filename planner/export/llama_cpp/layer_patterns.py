"""Regular expressions that name layers by number, as short as a reader can check."""

from collections.abc import Collection, Sequence
from itertools import groupby

DIGITS = "0123456789"


def layer_pattern(layers: Collection[int]) -> str:
    """Return a pattern that matches exactly these numbers, where text that is no digit follows.

    It uses alternation and classes of digits alone: ``-ot`` takes neither a comma nor braces.
    """
    by_prefix: dict[str, str] = {}
    for number in sorted(layers):
        text = str(number)
        # Numbers with the same tens share one class of last digits.
        by_prefix[text[:-1]] = by_prefix.get(text[:-1], "") + text[-1]
    return _joined(_merged(by_prefix))


def _merged(by_prefix: dict[str, str]) -> list[str]:
    """Return the alternatives, prefixes with the same last digits taken together."""
    found = []
    ordered = sorted(by_prefix.items(), key=lambda item: (len(item[0]), int(item[0] or 0)))
    for (length, last), items in groupby(ordered, key=lambda item: (len(item[0]), item[1])):
        prefixes = [prefix for prefix, _ in items]
        found += [prefix + _class(last) for prefix in _classes(prefixes, length)]
    return found


def _classes(prefixes: Sequence[str], length: int) -> list[str]:
    """Return prefixes of one digit as one class; longer ones stay apart."""
    if length == 1:
        return [_class("".join(prefixes))]
    return list(prefixes)


def _class(digits: str) -> str:
    """Return one digit as it is, several as a class, with a dash where three or more are
    consecutive.
    """
    if len(digits) == 1:
        return digits
    first = digits[0]
    last = digits[-1]
    if len(digits) > 2 and digits in DIGITS:
        return f"[{first}-{last}]"
    return f"[{digits}]"


def _joined(alternatives: Sequence[str]) -> str:
    return alternatives[0] if len(alternatives) == 1 else f"({'|'.join(alternatives)})"
