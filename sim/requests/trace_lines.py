"""Reading traces line by line: only what is asked for is in memory, and whatever is wrong is one line with its place."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwprofiles import InputError, closest


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Every line that is not blank, with its place (``file:line``). Raises InputError where the file cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(file, start=1):
                if stripped := line.strip():
                    yield f"{path}:{number}", stripped
    except OSError as error:
        raise InputError(f"cannot read request trace {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a request trace is .jsonl or .csv") from None


def json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every line as a JSON object, with its place. Raises InputError."""
    for where, line in text_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: broken JSON: {getattr(error, 'msg', error)}") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: a line of a request trace is a JSON object, got {type(row).__name__}")
        yield where, row


def value_of(row: Mapping[str, Any], key: str, where: str) -> Any:
    """The value of a key. Raises InputError that names what is there instead."""
    if key not in row:
        raise InputError(f"{where}: key {key} is missing{closest(key, map(str, row))}")
    return row[key]


def count_of(row: Mapping[str, Any], key: str, where: str, at_least: int = 1) -> int:
    """A whole number, from JSON or from the text of a CSV field. Raises InputError."""
    value = value_of(row, key, where)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise InputError(f"{where}: {key} must be a whole number of at least {at_least}, got {value!r}")
    return value


def time_ns_of(row: Mapping[str, Any], key: str, where: str, ns_per_unit: int) -> int:
    """A time in nanoseconds, from a number of units (JSON, or text of a CSV field). Raises InputError."""
    value = value_of(row, key, where)
    try:
        time = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        time = float("nan")
    if not 0 <= time < float("inf"):
        raise InputError(f"{where}: {key} must be a number of at least 0, got {value!r}")
    return value * ns_per_unit if isinstance(value, int) else round(time * ns_per_unit)


def in_order(arrival_ns: int, previous_ns: int, key: str, where: str) -> int:
    """The time. Raises InputError where it is before the previous request's."""
    if arrival_ns < previous_ns:
        raise InputError(f"{where}: {key} must not be earlier than on the line before; sort the trace by {key}")
    return arrival_ns
