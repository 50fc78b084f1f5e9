"""Logs of routing as tables, with a row for each token and layer.

A row's experts are in one column, or in a column for each rank.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hwprofiles import InputError
from hwprofiles.errors import shortened
from hwprofiles.input_file import csv_fields
from sim.routing.trace_lines import IDS, LAYERS, TOKENS, WEIGHTS, Line

_RANKED = re.compile(r"(expert|expert_id|topk_id|topk|weight|topk_weight|gate_weight)_?(\d{1,3})")
_SEPARATORS = re.compile(r"[\s,;|]+")
_BRACKETS = "[](){}"


def is_layer_table(header: Sequence[str]) -> bool:
    """Whether a table has a row for each token and layer: a layer, and experts of all ranks."""
    has_layer = any(name in LAYERS for name in header)
    return has_layer and any(name in IDS or _role(name) == IDS[0] for name in header)


def table_lines(header: Sequence[str], lines: Iterable[tuple[str, str]]) -> Iterator[Line]:
    """Every row as a line of a log. Raises InputError for a field that is wrong."""
    for where, line in lines:
        fields = csv_fields(line, where)
        if len(fields) != len(header):
            raise InputError(
                f"{where}: {len(header)} columns are due ({', '.join(header)}), got {len(fields)}"
            )
        yield where, _entry(dict(zip(header, fields, strict=True)), where)


def _entry(row: dict[str, str], where: str) -> dict[str, Any]:
    """Return the values of a row by key.

    Ids and weights are lists of numbers, layers and tokens whole numbers, all else text.
    """
    entry: dict[str, Any] = {}
    for name, text in sorted(row.items(), key=_rank):
        role = _role(name)
        if role is not None:
            entry.setdefault(role, []).append(_number(text, name, where))
        elif name in IDS or name in WEIGHTS:
            # Loggers print lists in their language's way; brackets and separators carry nothing.
            parts = [part for part in _SEPARATORS.split(text.strip(_BRACKETS + " ")) if part]
            entry[name] = [_number(part, name, where) for part in parts]
        elif name in LAYERS or name in TOKENS:
            entry[name] = _number(text, name, where)
        else:
            entry[name] = text
    return entry


def _role(name: str) -> str | None:
    """Return the key that the column of one rank belongs to: experts or weights; None for others.

    Such a name ends in a number, its rank.
    """
    match = _RANKED.fullmatch(name)
    if match is None:
        return None
    return WEIGHTS[0] if "weight" in match[1] else IDS[0]


def _rank(field: tuple[str, str]) -> int:
    """Return the rank of a column's field; 0 for a column of no rank."""
    match = _RANKED.fullmatch(field[0])
    return 0 if match is None else int(match[2])


def _number(text: str, name: str, where: str) -> int | float:
    try:
        return float(text) if "weight" in name else int(text)
    except ValueError:
        raise InputError(f"{where}: {name} must be numbers, got {shortened(repr(text))}") from None
