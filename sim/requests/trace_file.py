"""Which format a trace has: told by its ending, then by the keys of its first line."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from hwprofiles import InputError
from sim.requests.azure import read_azure
from sim.requests.csv_rows import header_of
from sim.requests.lengths import read_lengths
from sim.requests.lookup_log import read_lookup_log
from sim.requests.mooncake import read_mooncake
from sim.requests.request import Request
from sim.requests.trace_lines import json_rows

Reader = Callable[[Path], Iterator[Request]]
JSONL: Mapping[str, Reader] = {
    "hash_ids": read_mooncake,
    "chunk_hashes": read_lookup_log,
    "prompt_tokens": read_lengths,
}
"""The reader by a key that only its format has."""

CSV: Mapping[str, Reader] = {"ContextTokens": read_azure, "prompt_tokens": read_lengths}
"""The reader by a column that only its format has."""


SAY_WHAT_IS_SHARED: frozenset[Reader] = frozenset({read_mooncake, read_lookup_log})
"""The formats that say what prompts have in common."""


def read_trace(path: Path) -> Iterator[Request]:
    """The requests of a trace in any format that Rosin reads; the first line is read at once, the others as they are asked for.

    Raises InputError for an unknown format or an empty file at once, for a wrong line when it comes to it.
    """
    requests = _reader(path)(path)
    first = next(requests, None)
    if first is None:
        raise InputError(f"{path}: no request under the header")
    return chain((first,), requests)


def says_what_is_shared(path: Path) -> bool:
    """Whether the trace's format says what prompts have in common. Raises InputError for an unknown format."""
    return _reader(path) in SAY_WHAT_IS_SHARED


def _reader(path: Path) -> Reader:
    if path.suffix == ".csv":
        names, readers = header_of(path), CSV
    elif path.suffix == ".jsonl":
        names, readers = _first_keys(path), JSONL
    else:
        raise InputError(f"{path}: a request trace is .jsonl or .csv")
    reader = next((reader for name, reader in readers.items() if name in names), None)
    if reader is None:
        kind = "columns" if path.suffix == ".csv" else "keys"
        raise InputError(f"{path}:1: no request trace has the {kind} {', '.join(names) or '(none)'}; one of {', '.join(readers)} is due")
    return reader


def _first_keys(path: Path) -> tuple[str, ...]:
    first = next(json_rows(path), None)
    if first is None:
        raise InputError(f"{path}: the trace is empty")
    return tuple(first[1])
