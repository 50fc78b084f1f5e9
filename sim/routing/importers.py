"""Importing expert-id traces: ``.npz`` as we write it, ``.csv``, and ``.jsonl`` as engines dump it."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, unknown_name
from sim.routing.recorded import RecordedRouting
from sim.routing.trace_file import load_trace, make_trace

CSV_KEYS = ("sequence", "token", "layer", "rank", "expert", "weight")
CSV_REQUIRED = ("token", "layer", "rank", "expert")
JSONL_IDS = ("expert_ids", "routed_experts")
JSONL_KEYS = (*JSONL_IDS, "gate_weights", "token_ids", "request_id")


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


def _open_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot read routing trace {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    reader = csv.DictReader(_open_lines(path))
    header = reader.fieldnames or []
    for name in header:
        if name not in CSV_KEYS:
            raise InputError(f"{path}: {unknown_name('column', name, CSV_KEYS)}")
    missing = [name for name in CSV_REQUIRED if name not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; the columns are {', '.join(CSV_KEYS)}")
    rows = np.array([_csv_row(row, header, f"{path}:{line}") for line, row in enumerate(reader, start=2)], np.float64)
    if not len(rows):
        raise InputError(f"{path}: no rows under the header")
    return _dense(rows, "weight" in header, str(path))


def _csv_row(row: dict[str, str | None], header: Any, where: str) -> list[float]:
    """Sequence, token, layer, rank, expert, weight."""
    values = []
    for name in CSV_KEYS:
        text = row.get(name, "0") if name in header else "0"
        try:
            values.append(float(text or "") if name == "weight" else int(text or ""))
        except ValueError:
            raise InputError(f"{where}: {name} must be {'a number' if name == 'weight' else 'an integer'}, got {text!r}") from None
        if values[-1] < 0:
            raise InputError(f"{where}: {name} must be at least 0, got {text}")
    return values


def _dense(rows: NDArray[np.float64], has_weights: bool, where: str) -> dict[str, NDArray[Any]]:
    """The arrays of a trace file from rows (sequence, token, layer, rank, expert, weight), each choice exactly once."""
    tokens, index = np.unique(rows[:, :2], axis=0, return_inverse=True)
    layers, ranks = int(rows[:, 2].max()) + 1, int(rows[:, 3].max()) + 1
    place = (index.reshape(-1) * layers + rows[:, 2].astype(np.int64)) * ranks + rows[:, 3].astype(np.int64)
    counts = np.bincount(place, minlength=len(tokens) * layers * ranks)
    if (counts != 1).any():
        wrong = int(np.flatnonzero(counts != 1)[0])
        sequence, token = tokens[wrong // (layers * ranks)].astype(int)
        at = f"sequence {sequence}, token {token}, layer {wrong // ranks % layers}, rank {wrong % ranks}"
        raise InputError(f"{where}: every choice must be there once, {at} is there {counts[wrong]} times")
    dense = rows[np.argsort(place), 4:].reshape(len(tokens), layers, ranks, 2)
    arrays: dict[str, NDArray[Any]] = {"expert_ids": dense[..., 0].astype(np.int64)}
    arrays["sequence_num_tokens"] = np.unique(tokens[:, 0], return_counts=True)[1]
    return arrays | ({"gate_weights": dense[..., 1]} if has_weights else {})


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
    for number, line in enumerate(_open_lines(path), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(entry, dict):
            raise InputError(f"{path}:{number}: a line must be a JSON object, got {type(entry).__name__}")
        for name in entry:
            if name not in JSONL_KEYS:
                raise InputError(f"{path}:{number}: {unknown_name('key', name, JSONL_KEYS)}")
        yield f"{path}:{number}", entry


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
    if found.shape != (num_tokens,) or not all(type(item) is int for item in found):
        raise InputError(f"{where}: token_ids must be one integer for each of its {num_tokens} tokens")
    return found.astype(np.int64)
