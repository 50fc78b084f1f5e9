"""The JSON that commands write: one envelope, plain values, and a file that is whole or absent."""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from enum import Enum
from pathlib import Path
from typing import Any

from rosin.version import __version__

STDOUT = "-"


def envelope(
    payload: Mapping[str, Any], *, provenance: Any, warnings: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return the payload's keys in their order, then the keys that every output has.

    Those are ``provenance`` (null if nothing was priced), ``warnings``, ``seed`` and ``version``.
    """
    return {
        **payload,
        "provenance": provenance,
        "warnings": list(warnings),
        "seed": seed,
        "version": __version__,
    }


def write_json(value: Any, destination: str) -> None:
    """Write the value as JSON to a file, atomically, or to stdout when the destination is ``-``.
    Keys keep their order.

    Raises InputError when the file cannot be written.
    """
    from hwprofiles.text_file import whole_file

    is_stdout = destination == STDOUT  # whose encoding may be anything: there, JSON is ASCII
    pieces = _pieces(value, is_ascii=is_stdout)
    if is_stdout:
        sys.stdout.writelines(pieces)
        return
    with whole_file(Path(destination)) as file:
        file.writelines(piece.encode() for piece in pieces)


def _pieces(value: Any, *, is_ascii: bool) -> Iterator[str]:
    """Yield the text of a value in pieces.

    A mapping may hold an iterator in place of a list. A study has very many rows, and the iterator
    makes each row when it is written.
    """
    if not isinstance(value, Mapping) or not value:
        yield _text(value, is_ascii=is_ascii) + "\n"
        return
    before = "{\n"
    for key, item in value.items():
        yield f"{before}  {_text(str(plain(key)), is_ascii=is_ascii)}: "
        before = ",\n"
        if isinstance(item, Iterator):
            yield from _listed(item, is_ascii=is_ascii)
        else:
            yield _indented(item, "  ", is_ascii=is_ascii)
    yield "\n}\n"


def _listed(items: Iterator[Any], *, is_ascii: bool) -> Iterator[str]:
    before = "[\n    "
    end = "[]"
    for item in items:
        yield before + _indented(item, "    ", is_ascii=is_ascii)
        before = ",\n    "
        end = "\n  ]"
    yield end


def _indented(value: Any, margin: str, *, is_ascii: bool) -> str:
    # Within a text, JSON writes the end of a line as two letters, so every one here is its own.
    return _text(value, is_ascii=is_ascii).replace("\n", f"\n{margin}")


def _text(value: Any, *, is_ascii: bool) -> str:
    # plain() made null of what is not finite; a NaN that got past it would be no valid JSON.
    return json.dumps(plain(value), indent=2, ensure_ascii=is_ascii, allow_nan=False)


def plain(value: Any) -> Any:
    """Return the value in JSON's types.

    Arrays become lists, data classes and models become mappings, and enums become their values. NaN
    and infinity become null.
    """
    # Some enums are also text or numbers, so enums come first.
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | Set):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return plain(_converted(value))


def _converted(value: Any) -> Any:
    """Return a numpy array or scalar, a pydantic model, or a path in plain types.

    The types are recognised by their methods, so that neither numpy nor pydantic is imported.
    Raises TypeError for any other type.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="python", exclude_none=True)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
