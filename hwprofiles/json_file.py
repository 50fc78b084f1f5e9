"""Reading JSON within limits, from a file or from one line. Any fault is an InputError of one
line.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwprofiles.errors import MAX_REASON, InputError, shortened
from hwprofiles.input_file import read_text
from hwprofiles.yaml_tree import MAX_DEPTH, MAX_DIGITS, MAX_VALUES

_MANY_DIGITS = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")
# A double ends at 1e308, so only exponents of three digits can pass it.
_LARGE_EXPONENT = re.compile(r"\d[eE]\+?\d{3}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _Refused(ValueError):
    """The error for valid JSON that is not read here.

    ``written`` is the number at fault as the text has it, or empty.
    """

    def __init__(self, message: str, written: str = "") -> None:
        """Make the error; ``message`` says what is wrong, without the place."""
        super().__init__(message)
        self.written = written


def read_json(path: Path, what: str, *, takes_infinity: bool = False) -> dict[str, Any]:
    """Read one JSON object. Raises InputError, with the line where the syntax breaks.

    ``takes_infinity`` lets Infinity and NaN through. JSON has neither, but configurations contain
    them.
    """
    data = read_json_value(path, what, takes_infinity=takes_infinity)
    if not isinstance(data, dict):
        raise InputError(f"{path}: a {what} is a JSON object, got {type(data).__name__}")
    return data


def read_json_value(path: Path, what: str, *, takes_infinity: bool = False) -> Any:
    """Read one JSON value, which may be a list. Raises InputError as read_json does."""
    text = read_text(path, what, "JSON")
    try:
        return _loaded(text, MAX_VALUES, takes_infinity=takes_infinity)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: broken JSON: {error.msg} (column {error.colno})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}{_line_of(text, error)}: broken JSON: {_reason(error)}") from None


def parse_json(text: str, where: str, *, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """Return the JSON object that one line holds.

    Raises InputError that begins with ``where``, the line's place.
    """
    data = parse_value(text, where, max_values=max_values)
    if not isinstance(data, dict):
        raise InputError(f"{where}: a line is a JSON object, got {type(data).__name__}")
    return data


def parse_value(text: str, where: str, *, max_values: int = MAX_VALUES) -> Any:
    """Return the JSON value of a text. Raises InputError that begins with ``where``."""
    try:
        return _loaded(text, max_values, takes_infinity=False)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: broken JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON: {_reason(error)}") from None


def _line_of(text: str, error: Exception) -> str:
    """Return ``:LINE`` of the number at fault, or an empty text where the fault is no number."""
    written = getattr(error, "written", "")
    return f":{text.count(chr(10), 0, text.find(written)) + 1}" if written else ""


def _reason(error: Exception) -> str:
    return _too_deep() if isinstance(error, RecursionError) else shortened(str(error), MAX_REASON)


def _too_deep() -> str:
    return f"lists and objects lie at most {MAX_DEPTH} deep inside each other"


def _loaded(text: str, max_values: int, *, takes_infinity: bool) -> Any:
    """Return the value of the text. Raises ValueError or RecursionError.

    Reading numbers with our own functions is five times slower. Only a text with an odd number is
    read so.
    """
    # Counted in the text, an upper bound that takes no parsing: brackets and commas in strings
    # count too. So nothing large is built before it is refused.
    num_brackets = text.count("[") + text.count("{")
    if text.count(",") + num_brackets > max_values:
        raise _Refused(f"more than {max_values:,} values")
    is_odd = _MANY_DIGITS.search(text) or _LARGE_EXPONENT.search(text)
    data = json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=None if takes_infinity else _no_constant,
        parse_int=_integer if is_odd else None,
        parse_float=_finite if is_odd and not takes_infinity else None,
    )
    # As many brackets as are allowed in depth cannot lie deeper than that.
    if num_brackets > MAX_DEPTH and _is_deep(data):
        raise _Refused(_too_deep())
    if _SURROGATE.search(text):
        _check_text(data)
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of the pairs. Raises _Refused where a key is written twice with two values,
    of which Python would silently take the last.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            # The same value twice is harmless, and stands in files that tools have written.
            if found[key] != value:
                raise _Refused(f"key {key!r} is written twice, with two values")
    return found


def _no_constant(name: str) -> Any:
    raise _Refused(f"{name} is no number in JSON")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(f"a whole number has at most {MAX_DIGITS} digits, got {len(text)}", text)
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"{shortened(text)} is too large a number", text)
    return value


def _is_deep(data: Any) -> bool:
    """Whether lists and objects lie more than MAX_DEPTH deep inside each other."""
    # Level by level, not by recursion: what is looked for is what recursion would fail on.
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [item for value in level for item in _inner(value)]
        if not level:
            return False
    return True


def _inner(value: Any) -> Iterator[Any]:
    """The lists and objects that are items of a list or an object; none of any other value."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (item for item in items if isinstance(item, dict | list))


def _check_text(data: Any) -> None:
    """Refuse text with half a character (a lone surrogate), which no file can hold."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _Refused("text with half a character (a lone surrogate)") from None
