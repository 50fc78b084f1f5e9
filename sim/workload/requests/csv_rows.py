"""Rows of a CSV trace by the names in its header."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hwprofiles import InputError, closest
from hwprofiles.errors import shortened
from hwprofiles.input_file import csv_fields
from sim.workload.requests.trace_lines import text_lines


def header_of(path: Path) -> tuple[str, ...]:
    """Return the names of the columns; none for an empty file.

    Raises InputError where the file cannot be read, or two columns have one name.
    """
    _, line = next(text_lines(path), ("", ""))
    names = tuple(name.strip() for name in csv_fields(line, f"{path}:1"))
    # Rows become mappings: the later column of a name would hide the earlier one.
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{path}:1: two columns are named {shortened(repeated)}")
    return names


def csv_rows(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    takes_others: bool = False,
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield every row with its place (``file:line``).

    Raises InputError for a column that is missing or unknown, and for a row of another length than
    the header. With ``takes_others``, unknown columns are no error.
    """
    header = header_of(path)
    for name in required:
        if name not in header:
            raise InputError(f"{path}:1: no column {name}{closest(name, header)}")
    unknown = [name for name in header if name not in (*required, *optional)]
    if unknown and not takes_others:
        raise InputError(
            f"{path}:1: unknown column {unknown[0]}{closest(unknown[0], (*required, *optional))}"
        )
    lines = text_lines(path)
    next(lines)
    for where, line in lines:
        fields = csv_fields(line, where)
        if len(fields) != len(header):
            raise InputError(
                f"{where}: {len(header)} columns are due ({', '.join(header)}), got {len(fields)}"
            )
        yield where, dict(zip(header, fields, strict=True))
