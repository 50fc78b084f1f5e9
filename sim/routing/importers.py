"""Importing traces of expert ids.

The files are ``.npz``, ``.csv``, and ``.jsonl`` or ``.json`` as engines write them.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, unknown_name
from hwprofiles.errors import shortened
from hwprofiles.input_file import check_regular, csv_fields, text_lines
from sim.routing.choice_rows import dense
from sim.routing.layer_arrays import has_layer_arrays, read_layer_arrays
from sim.routing.layer_log import is_layer_row, read_layer_log
from sim.routing.layer_table import is_layer_table, table_lines
from sim.routing.recorded import RecordedRouting
from sim.routing.request_lines import read_requests
from sim.routing.trace_file import load_trace, make_trace
from sim.routing.trace_lines import IDS, Imported, MetaLines, data_lines

CSV_KEYS = ("sequence", "token", "layer", "rank", "expert", "weight")
CSV_REQUIRED = ("token", "layer", "rank", "expert")
CSV_LIMITS = {
    "sequence": 2**53,
    "token": 2**53,
    "layer": 10_000,
    "rank": 1_000,
    "expert": 2**15,
    "weight": float("inf"),
}
"""The limit that the numbers of each column stay below; up to 2^53 a float is exact."""


def import_trace(path: Path, num_experts: int | None = None) -> RecordedRouting:
    """Read a trace in the format of its suffix; docs/reference/routing.md states the shapes.

    ``num_experts`` is the number of experts of a layer. It is needed where the file does not state
    it and the largest id does not show it. Raises InputError, one line with the place.
    """
    found = _imported(path)
    arrays = dict(found.arrays)
    if num_experts is not None:
        arrays["num_experts"] = np.array(num_experts)
    return replace(make_trace(arrays, name=path.stem, where=str(path)), notes=found.notes)


def _imported(path: Path) -> Imported:
    if path.suffix == ".npz":
        check_regular(path, "routing trace")
        return (
            read_layer_arrays(path) if has_layer_arrays(path) else Imported(arrays=_read_npz(path))
        )
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix in {".jsonl", ".json"}:
        return _read_lines(path)
    raise InputError(f"{path}: a trace of expert ids is .npz, .csv, .jsonl or .json")


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    trace = load_trace(path)
    arrays: dict[str, NDArray[Any]] = {
        "expert_ids": trace.expert_ids,
        "num_experts": np.array(trace.num_experts),
    }
    arrays["sequence_num_tokens"] = np.diff(trace.borders)
    arrays |= {} if trace.weights is None else {"gate_weights": trace.weights}
    return arrays | ({} if trace.token_ids is None else {"token_ids": trace.token_ids})


def _read_lines(path: Path) -> Imported:
    """Read lines by request or by layer; the first line with expert ids decides which."""
    meta = MetaLines()
    lines = data_lines(path, meta)
    # The first line with ids decides the format; lines of another are then errors.
    first = next(lines, None)
    if first is None:
        nothing = (
            "no lines"
            if not meta.count
            else f"no line has expert ids under {', '.join(IDS)} or prompt_routed_experts"
        )
        raise InputError(f"{path}: {nothing}")
    read = read_layer_log if is_layer_row(first[1]) else read_requests
    found = read(path, chain((first,), lines))
    arrays = found.arrays
    if meta.num_experts is not None:
        arrays = {"num_experts": np.array(meta.num_experts)} | arrays
    return Imported(arrays=arrays, notes=(*meta.notes(), *found.notes))


def _read_csv(path: Path) -> Imported:
    comments: list[str] = []
    lines = _without_comments(path, comments)
    where, line = next(lines, (f"{path}:1", ""))
    header = [name.strip() for name in csv_fields(line, where)]
    if is_layer_table(header):
        found = read_layer_log(path, table_lines(header, lines))
        return Imported(arrays=found.arrays, notes=(*_comment_notes(comments), *found.notes))
    for name in header:
        if name not in CSV_KEYS:
            raise InputError(f"{path}: {unknown_name('column', name, CSV_KEYS)}")
        if header.count(name) > 1:
            raise InputError(f"{path}: two columns are named {name}")
    missing = [name for name in CSV_REQUIRED if name not in header]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; the columns are {', '.join(CSV_KEYS)}"
        )
    rows = np.array(
        [_csv_row(csv_fields(line, where), header, where) for where, line in lines], np.float64
    )
    if not len(rows):
        raise InputError(f"{path}: no rows under the header")
    arrays = dense(rows, "weight" in header, str(path))
    return Imported(arrays=arrays, notes=_comment_notes(comments))


def _comment_notes(comments: list[str]) -> tuple[str, ...]:
    """Return the note on skipped comments, if there are any; ``comments`` are their places."""
    return (f"{comments[0]}: {len(comments):,} comments (#): skipped",) if comments else ()


def _without_comments(path: Path, comments: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the lines that are no comments; ``comments`` takes the places of those that are."""
    for where, line in text_lines(path, "routing trace"):
        if line.startswith("#"):
            comments.append(where)
        else:
            yield where, line


def _csv_row(fields: list[str], header: list[str], where: str) -> list[float]:
    """Return (sequence, token, layer, rank, expert, weight) of a line. Raises InputError."""
    if len(fields) != len(header):
        raise InputError(
            f"{where}: {len(header)} columns are due ({', '.join(header)}), got {len(fields)}"
        )
    row = dict(zip(header, fields, strict=True))
    # Without a column of sequences there is one, and without weights none are used.
    return [_csv_value(name, row.get(name, "0"), where) for name in CSV_KEYS]


def _csv_value(name: str, text: str, where: str) -> float:
    try:
        value = float(text) if name == "weight" else int(text)
    except ValueError:
        kind = "a number" if name == "weight" else "an integer"
        raise InputError(f"{where}: {name} must be {kind}, got {shortened(repr(text))}") from None
    if not 0 <= value < CSV_LIMITS[name]:
        limit = "" if name == "weight" else f" and below {CSV_LIMITS[name]:,}"
        raise InputError(f"{where}: {name} must be at least 0{limit}, got {shortened(text)}")
    return value
