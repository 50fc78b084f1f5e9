"""Importing expert-id traces: ``.npz`` as we write it, ``.csv``, and ``.jsonl`` as engines dump it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, parse_json, unknown_name
from hwprofiles.errors import shortened
from hwprofiles.input_file import csv_fields, text_lines
from hwprofiles.units import MIB
from sim.routing.recorded import RecordedRouting
from sim.routing.trace_file import load_trace, make_trace

CSV_KEYS = ("sequence", "token", "layer", "rank", "expert", "weight")
CSV_REQUIRED = ("token", "layer", "rank", "expert")
JSONL_IDS = ("expert_ids", "routed_experts")
JSONL_KEYS = (*JSONL_IDS, "gate_weights", "token_ids", "request_id")
CSV_LIMITS = {"sequence": 2**53, "token": 2**53, "layer": 10_000, "rank": 1_000, "expert": 2**15, "weight": float("inf")}
"""What a number of each column is below; up to 2^53 a float is exact."""
MAX_LINE_CHARACTERS, MAX_LINE_VALUES = 64 * MIB, 16_000_000
"""Of a line of JSON, which may hold a whole request: 40,000 tokens of 48 layers, top-8."""


def import_trace(path: Path, num_experts: int | None = None) -> RecordedRouting:
    """Read a trace by its suffix; docs/reference/routing.md states the shapes. Raises InputError, one line with the place.

    ``num_experts`` is the number of experts of a layer, where the file does not say it and the largest id does not show it.
    """
    if path.suffix == ".npz":
        trace = load_trace(path)
        arrays = {"expert_ids": trace.expert_ids, "sequence_num_tokens": np.diff(trace.borders)}
        arrays |= {} if trace.weights is None else {"gate_weights": trace.weights}
        arrays |= {} if trace.token_ids is None else {"token_ids": trace.token_ids}
        arrays |= {} if num_experts is not None else {"num_experts": np.array(trace.num_experts)}
    elif path.suffix == ".csv":
        arrays = _read_csv(path)
    elif path.suffix == ".jsonl":
        arrays = _read_jsonl(path)
    else:
        raise InputError(f"{path}: a trace of expert ids is .npz, .csv or .jsonl")
    if num_experts is not None:
        arrays["num_experts"] = np.array(num_experts)
    return make_trace(arrays, name=path.stem, where=str(path))


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    lines = text_lines(path, "routing trace")
    where, line = next(lines, (f"{path}:1", ""))
    header = csv_fields(line, where)
    for name in header:
        if name not in CSV_KEYS:
            raise InputError(f"{path}: {unknown_name('column', name, CSV_KEYS)}")
        if header.count(name) > 1:
            raise InputError(f"{path}: two columns are named {name}")
    missing = [name for name in CSV_REQUIRED if name not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; the columns are {', '.join(CSV_KEYS)}")
    rows = np.array([_csv_row(csv_fields(line, where), header, where) for where, line in lines], np.float64)
    if not len(rows):
        raise InputError(f"{path}: no rows under the header")
    return _dense(rows, "weight" in header, str(path))


def _csv_row(fields: list[str], header: list[str], where: str) -> list[float]:
    """Sequence, token, layer, rank, expert, weight."""
    if len(fields) != len(header):
        raise InputError(f"{where}: {len(header)} columns are due ({', '.join(header)}), got {len(fields)}")
    row = dict(zip(header, fields, strict=True))
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


def _dense(rows: NDArray[np.float64], has_weights: bool, where: str) -> dict[str, NDArray[Any]]:
    """The arrays of a trace file from rows (sequence, token, layer, rank, expert, weight), each choice exactly once."""
    tokens, index = np.unique(rows[:, :2], axis=0, return_inverse=True)
    layers, ranks = int(rows[:, 2].max()) + 1, int(rows[:, 3].max()) + 1
    place = (index.reshape(-1) * layers + rows[:, 2].astype(np.int64)) * ranks + rows[:, 3].astype(np.int64)
    wrong, count = _first_wrong(place, len(tokens) * layers * ranks)
    if wrong is not None:
        sequence, token = tokens[wrong // (layers * ranks)].astype(int)
        at = f"sequence {sequence}, token {token}, layer {wrong // ranks % layers}, rank {wrong % ranks}"
        raise InputError(f"{where}: every choice must be there once, {at} is there {count} times")
    dense = rows[np.argsort(place), 4:].reshape(len(tokens), layers, ranks, 2)
    arrays: dict[str, NDArray[Any]] = {"expert_ids": dense[..., 0].astype(np.int64)}
    arrays["sequence_num_tokens"] = np.unique(tokens[:, 0], return_counts=True)[1]
    return arrays | ({"gate_weights": dense[..., 1]} if has_weights else {})


def _first_wrong(places: NDArray[np.int64], num_places: int) -> tuple[int | None, int]:
    """The first place that is not there exactly once, with how often it is; None where all are.

    There may be far more places than rows: only the rows are in memory.
    """
    found, counts = np.unique(places, return_counts=True)
    is_wrong = (found != np.arange(len(found))) | (counts != 1)
    if is_wrong.any():
        first = int(np.argmax(is_wrong))
        return (first, int(counts[first])) if found[first] == first else (first, 0)
    return (len(found), 0) if len(found) < num_places else (None, 1)


def _read_jsonl(path: Path) -> dict[str, NDArray[Any]]:
    """One object a request, or one a token: consecutive tokens of one ``request_id`` are a sequence."""
    ids: list[NDArray[Any]] = []
    weights: list[NDArray[Any]] = []
    token_ids: list[NDArray[Any]] = []
    requests: list[Any] = []
    for where, entry in _objects(path):
        key = next((name for name in JSONL_IDS if name in entry), None)
        if key is None:
            raise InputError(f"{where}: no key {' or '.join(JSONL_IDS)}")
        chosen = _table(entry[key], np.int64, f"{where}: {key}")
        if ids and chosen.shape[1:] != ids[0].shape[1:]:
            raise InputError(f"{where}: {key} is of {chosen.shape[1:]} layers and ranks, the first was of {ids[0].shape[1:]}")
        ids.append(chosen)
        requests += [entry.get("request_id", f"line {where}")] * len(chosen)
        if "gate_weights" in entry:
            weights.append(_table(entry["gate_weights"], np.float64, f"{where}: gate_weights"))
            if weights[-1].shape != chosen.shape:
                raise InputError(f"{where}: gate_weights are of shape {weights[-1].shape}, {key} of {chosen.shape}")
        if "token_ids" in entry:
            token_ids.append(_token_ids(entry["token_ids"], len(chosen), where))
    if not ids:
        raise InputError(f"{path}: no lines")
    is_first = np.array([index == 0 or request != requests[index - 1] for index, request in enumerate(requests)])
    arrays = {"expert_ids": np.concatenate(ids), "sequence_num_tokens": np.diff([*np.flatnonzero(is_first), len(requests)])}
    for name, parts in (("gate_weights", weights), ("token_ids", token_ids)):
        if parts and len(parts) != len(ids):
            raise InputError(f"{path}: {name} must be on every line or on none, it is on {len(parts)} of {len(ids)}")
        arrays |= {name: np.concatenate(parts)} if parts else {}
    return arrays


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in text_lines(path, "routing trace", MAX_LINE_CHARACTERS):
        entry = parse_json(line, where, max_values=MAX_LINE_VALUES)
        for name in entry:
            if name not in JSONL_KEYS:
                raise InputError(f"{where}: {unknown_name('key', name, JSONL_KEYS)}")
        yield where, entry


def _table(value: Any, dtype: type, where: str) -> NDArray[Any]:
    """[token, layer, rank] of numbers; one token's [layer, rank] becomes a single row."""
    try:
        table = np.array(value)
    except ValueError:
        table = np.empty(0)
    is_right = np.issubdtype(table.dtype, np.integer) or (dtype is np.float64 and np.issubdtype(table.dtype, np.floating))
    if table.ndim not in (2, 3) or table.size == 0 or not is_right:
        kind = "integers" if dtype is np.int64 else "numbers"
        raise InputError(f"{where} must be {kind} [token][layer][rank], or [layer][rank] for one token, rows equally long")
    return table.astype(dtype).reshape(-1, *table.shape[-2:])


def _token_ids(value: Any, num_tokens: int, where: str) -> NDArray[np.int64]:
    found = np.array(value if isinstance(value, list) else [value], dtype=object)
    if found.shape != (num_tokens,) or not all(type(item) is int and abs(item) < 2**63 for item in found):
        raise InputError(f"{where}: token_ids must be one integer of 64 bits for each of its {num_tokens} tokens")
    return found.astype(np.int64)
