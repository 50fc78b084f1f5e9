"""Reading traces line by line: only the line that is asked for is in memory, and an error is one
line with its place.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwprofiles import InputError, closest, parse_json
from hwprofiles.errors import shortened
from hwprofiles.input_file import text_lines as lines_of
from hwprofiles.limits import MAX_TIME_S, MAX_TOKENS
from hwprofiles.units import NS_PER_S

_WHOLE = re.compile(r"\s*[0-9]{1,20}\s*", re.ASCII)  # int() takes no other blanks


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Every line that is not blank, with its place (``file:line``).

    Raises InputError where the file cannot be read.
    """
    return lines_of(path, "request trace")


def json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every line as a JSON object, with its place. Raises InputError for a line
    that is none.
    """
    for where, line in text_lines(path):
        yield where, parse_json(line, where)


def value_of(row: Mapping[str, Any], key: str, where: str) -> Any:
    """Return the value of a key. Raises InputError where it is missing; the message names the
    nearest key.
    """
    if key not in row:
        raise InputError(f"{where}: key {key} is missing{closest(key, map(str, row))}")
    return row[key]


def count_of(row: Mapping[str, Any], key: str, where: str, at_least: int = 1) -> int:
    """Return a whole number of tokens, from JSON or from the text of a CSV field. Raises InputError
    for anything else, or fewer than ``at_least``.
    """
    value = value_of(row, key, where)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    # True is an int in Python, but no count in JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= MAX_TOKENS:
        limits = f"a whole number of at least {at_least}, and at most {MAX_TOKENS:,}"
        raise InputError(f"{where}: {key} must be {limits}, got {shortened(repr(value))}")
    return value


def answer_of(row: Mapping[str, Any], key: str, where: str) -> int:
    """Return the tokens of an answer, 0 where a request failed and has none. Raises InputError for
    anything else.
    """
    return count_of(row, key, where, at_least=0)


def time_ns_of(row: Mapping[str, Any], key: str, where: str, ns_per_unit: int) -> int:
    """Return a time in ns, from a number of units (JSON, or the text of a CSV field).

    Raises InputError for anything else, and for a time out of range.
    """
    value = value_of(row, key, where)
    try:
        time = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        time = float("nan")
    if not 0 <= time * ns_per_unit <= MAX_TIME_S * NS_PER_S:
        latest = MAX_TIME_S * NS_PER_S // ns_per_unit
        raise InputError(
            f"{where}: {key} must be a number of at least 0, and at most {latest:,}, got {shortened(repr(value))}"
        )
    # Whole numbers stay exact: a double has 53 bits, nanoseconds since 1970 take 61.
    return value * ns_per_unit if isinstance(value, int) else round(time * ns_per_unit)


def in_order(arrival_ns: int, previous_ns: int, key: str, where: str) -> int:
    """Return the time. Raises InputError where it is before the time of the request before."""
    if arrival_ns < previous_ns:
        raise InputError(
            f"{where}: {key} must not be earlier than on the line before; sort the trace by {key}"
        )
    return arrival_ns
