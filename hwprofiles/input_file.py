"""Reading files from outside: regular files of a bounded size, as text, whole or line by line."""

import csv
import stat
from collections.abc import Iterator
from pathlib import Path

from hwprofiles.errors import InputError
from hwprofiles.units import MIB

MAX_FILE_BYTES = 32 * MIB
"""The largest YAML or JSON file that is read.

The largest that Rosin writes, a routing file of 256 classes, takes half of it.
"""
MAX_LINE_CHARACTERS = 4 * MIB
"""The most characters in a line of a trace."""


def is_there(path: Path) -> bool:
    """Whether a file or folder of that name exists. A name that no file can have does not."""
    try:
        return path.exists()
    # Such as a name longer than the file system takes.
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether there is a regular file of that name."""
    return is_there(path) and path.is_file()


def check_regular(path: Path, what: str) -> int:
    """Return the size in bytes of a regular file.

    Raises InputError for anything else: a pipe or a device may never end.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {what} {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "neither file nor folder"
        raise InputError(f"cannot read {what} {path}: it is {kind}")
    return found.st_size


def read_text(path: Path, what: str, kind: str) -> str:
    """Read a text file of at most MAX_FILE_BYTES.

    ``kind`` is the format that error messages name, YAML or JSON. Raises InputError.
    """
    # Asked before it is opened: to open a pipe waits for a writer, to read a device may never end.
    size = check_regular(path, what)
    if size > MAX_FILE_BYTES:
        raise InputError(f"{path}: {size:,} bytes, a {what} has at most {MAX_FILE_BYTES:,}")
    try:
        # Editors on Windows put a byte-order mark in front, which is no part of the text.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a {what} is {kind}") from None


def text_lines(
    path: Path, what: str, max_characters: int = MAX_LINE_CHARACTERS
) -> Iterator[tuple[str, str]]:
    """Yield the place (``file:line``) and the stripped text of each line that is not blank.

    Raises InputError where the file cannot be read or a line is longer than ``max_characters``.
    """
    check_regular(path, what)
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            number = 0
            # With a limit: a file without line ends would otherwise be read into memory whole.
            while line := file.readline(max_characters + 1):
                number += 1
                if len(line) > max_characters:
                    raise InputError(
                        f"{path}:{number}: a line has at most {max_characters:,} characters"
                    )
                if stripped := line.strip():
                    yield f"{path}:{number}", stripped
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a {what} is text") from None


def csv_fields(line: str, where: str) -> list[str]:
    """The fields of one line of CSV.

    Raises InputError that begins with ``where``, the line's place.
    """
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:
        raise InputError(f"{where}: broken CSV: {error}") from None
