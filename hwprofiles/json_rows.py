"""Reading JSON with one very long list: its objects one at a time, within the limits of a file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from hwprofiles.errors import InputError
from hwprofiles.input_file import MAX_FILE_BYTES, MAX_LINE_CHARACTERS, check_regular
from hwprofiles.json_file import parse_value
from hwprofiles.yaml_tree import MAX_VALUES

CHUNK_CHARACTERS = 2**16
_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


class JsonRows:
    """The objects of a list in a JSON file, read from the file anew at each iteration."""

    def __init__(self, path: Path, what: str, name: str) -> None:
        """Stand for the list under the key ``name``. Error messages call the file ``what``."""
        self._path = path
        self._what = what
        self._name = name

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield one object after another. Raises InputError as read_json does."""
        for _, item in _items(self._path, self._what, self._name):
            if isinstance(item, _Row):
                yield item.data


def read_json_rows(path: Path, what: str, name: str) -> dict[str, Any]:
    """Read one JSON object. If it has a list under the key ``name``, JsonRows stand for the list.

    All but the list may be as large as a whole file, and each object of the list as a line of a
    trace. Raises InputError as read_json does, for the list too.
    """
    found: dict[str, Any] = {}
    num_characters = 0
    for key, item in _items(path, what, name):
        if isinstance(item, _Row):
            continue
        # As in a whole file, the same value twice is harmless.
        if key in found and (item.is_list or found[key] != item.data):
            raise InputError(f"{path}: broken JSON: key {key!r} is written twice, with two values")
        num_characters += item.num_characters
        if num_characters > MAX_FILE_BYTES:
            raise InputError(
                f"{path}: besides {name!r}, a {what} has at most {MAX_FILE_BYTES:,} characters"
            )
        found[key] = JsonRows(path, what, name) if item.is_list else item.data
    return found


class _Row:
    """One object of the list."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data


class _Member:
    """The value of one key. ``is_list`` marks the long list, whose objects follow as _Row."""

    def __init__(self, data: Any, num_characters: int, *, is_list: bool = False) -> None:
        self.data = data
        self.num_characters = num_characters
        self.is_list = is_list


def _items(path: Path, what: str, name: str) -> Iterator[tuple[str, _Row | _Member]]:
    """Yield each key of the object with its value. The objects of the list under the key ``name``
    come one by one after it.
    """
    check_regular(path, what)
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            yield from _members(_Scanner(file, path), what, name)
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a {what} is JSON") from None


def _members(scanner: "_Scanner", what: str, name: str) -> Iterator[tuple[str, _Row | _Member]]:
    if scanner.peek() != "{":
        raise InputError(f"{scanner.path}: a {what} is a JSON object")
    for _ in scanner.parts("{", "}"):
        key = scanner.value(MAX_LINE_CHARACTERS)
        if not isinstance(key, str):
            raise scanner.refusal("a key is text")
        scanner.take(":")
        if key == name and scanner.peek() == "[":
            yield key, _Member(None, 0, is_list=True)
            for _ in scanner.parts("[", "]"):
                row = scanner.value(MAX_LINE_CHARACTERS)
                if not isinstance(row, dict):
                    raise scanner.refusal(f"{name!r} is a list of objects")
                yield key, _Row(row)
        else:
            before = scanner.num_taken
            data = scanner.value(MAX_FILE_BYTES)
            yield key, _Member(data, scanner.num_taken - before)
    if scanner.peek():
        raise scanner.refusal("something follows the object")


class _Scanner:
    """A position in a JSON text, which is read from the file piece by piece as it is needed."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.path = path
        self.num_taken = 0
        self._file = file
        self._text = ""
        self._at = 0
        self._line = 1
        self._is_over = False

    def peek(self) -> str:
        """Return the next character that is no space, without going past it; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._advance(self._at + 1)
            if self._is_over:
                return ""
            self._read()

    def take(self, character: str) -> None:
        """Go past ``character``. Raises InputError where another character is next."""
        if self.peek() != character:
            raise self.refusal(f"expecting {character!r}")
        self._advance(self._at + 1)

    def parts(self, start: str, end: str) -> Iterator[None]:
        """Yield before each part between two brackets; the caller then reads that part."""
        self.take(start)
        if self.peek() == end:
            self.take(end)
            return
        yield
        while self.peek() == ",":
            self.take(",")
            yield
        self.take(end)

    def value(self, most_characters: int) -> Any:
        """Return the next value. Raises InputError where there is none, or where it has more than
        ``most_characters``.
        """
        self.peek()
        fault = ""
        while True:
            try:
                end = _DECODER.raw_decode(self._text, self._at)[1]
            except (ValueError, RecursionError) as error:
                # What is cut off by the end of what was read so far is no fault yet.
                end = -1
                fault = getattr(error, "msg", "")
            # More digits of a number may follow.
            is_whole = end >= 0 and (end < len(self._text) or self._is_over)
            if (end if is_whole else len(self._text)) - self._at > most_characters:
                raise self.refusal(f"a value has at most {most_characters:,} characters")
            if is_whole:
                break
            if self._is_over:
                raise self.refusal(fault or "no value that is read here")
            self._read()
            # Before it is tried: what is built of so many takes much more memory than their text.
            if self._text.count(",") + self._text.count("[") > MAX_VALUES:
                raise self.refusal(f"more than {MAX_VALUES:,} values")
        text = self._text[self._at : end]
        where = f"{self.path}:{self._line}"
        self._advance(end)
        return parse_value(text, where)

    def refusal(self, fault: str) -> InputError:
        """Return the error for a fault at this position, with the file and the line."""
        return InputError(f"{self.path}:{self._line}: broken JSON: {fault}")

    def _advance(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self.num_taken += to - self._at
        self._at = to

    def _read(self) -> None:
        """Read at least as much text as is not gone past yet, so that parsing a long value starts
        over only a few times.
        """
        left = self._text[self._at :]
        more = self._file.read(max(CHUNK_CHARACTERS, len(left)))
        self._is_over = not more
        self._text = left + more
        self._at = 0
