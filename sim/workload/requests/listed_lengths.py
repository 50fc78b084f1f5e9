"""Lists of lengths as JSON, as they are made from ShareGPT: objects, pairs, or conversations with
counted turns.

ShareGPT's own conversations are texts: how many tokens they have depends on a tokenizer, so they
are refused. As in vLLM's benchmark, the first turn is the prompt and the second is the answer.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from hwprofiles.json_file import read_json_value
from hwprofiles.units import NS_PER_S
from sim.workload.requests.request import Lengths, Request, from_lengths
from sim.workload.requests.trace_lines import answer_of, count_of, json_rows, time_ns_of
from sim.workload.requests.trace_units import TraceUnits

PROMPTS = ("prompt_tokens", "prompt_len", "input_len", "input_tokens", "input_length")
OUTPUTS = ("output_tokens", "output_len", "completion_tokens", "output_length", "response_len")
ARRIVALS = ("arrival_s",)
CONVERSATIONS = "conversations"
COUNTS = ("num_tokens", "tokens", "length", "len")
PAIR = ("prompt_tokens", "output_tokens")


def items_of(path: Path) -> list[Any]:
    """Return the items of a JSON file that holds a list. Raises InputError for any other file."""
    found = read_json_value(path, "request trace")
    if not isinstance(found, list):
        raise InputError(f"{path}: a list of lengths is a JSON list, got {type(found).__name__}")
    return found


def read_listed_lengths(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests of a list in order of arrival; without ``arrival_s`` all arrive at time 0.

    Raises InputError for a wrong item.
    """
    if path.suffix == ".json":
        rows = ((f"{path}: item {number}", item) for number, item in enumerate(items_of(path)))
        return from_lengths(_lengths(item, where) for where, item in rows)
    return from_lengths(_lengths(row, where) for where, row in json_rows(path))


def _lengths(item: Any, where: str) -> Lengths:
    row = _as_row(item, where)
    prompt = _key(row, PROMPTS, where)
    output = _key(row, OUTPUTS, where)
    arrival = ARRIVALS[0]
    return Lengths(
        time_ns=time_ns_of(row, arrival, where, NS_PER_S) if arrival in row else 0,
        prompt_tokens=count_of(row, prompt, where),
        output_tokens=answer_of(row, output, where),
    )


def _as_row(item: Any, where: str) -> Mapping[str, Any]:
    """An item by the names of its lengths. A pair may have its text ahead of it."""
    if isinstance(item, list) and len(item) in (2, 3):
        # From the end: vLLM's sampled requests are (prompt, prompt length, output length).
        return dict(zip(PAIR, item[-2:], strict=True))
    if not isinstance(item, dict):
        raise InputError(f"{where} must be an object or a pair of lengths")
    turns = item.get(CONVERSATIONS)
    if turns is None:
        return item
    if not isinstance(turns, list) or len(turns) < len(PAIR):
        raise InputError(f"{where}: {CONVERSATIONS} must be a list of two turns or more")
    counts = [_count(turn, where) for turn in turns[: len(PAIR)]]
    return dict(zip(PAIR, counts, strict=True))


def _count(turn: Any, where: str) -> Any:
    """How many tokens a turn has. Raises InputError where it is a text alone."""
    key = next((name for name in COUNTS if isinstance(turn, dict) and name in turn), None)
    if key is None:
        what = "turns are texts, whose tokens a tokenizer must count first"
        raise InputError(f"{where}: {CONVERSATIONS}: {what}; give each {COUNTS[0]}")
    return turn[key]


def _key(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    # Names are of several tools; their order decides where a row has more than one.
    found = next((name for name in names if name in row), None)
    if found is None:
        raise InputError(f"{where}: none of the keys {', '.join(names)} is there")
    return found
