"""LMCache's own logs of lookups: one line a request, with the hashes of its full chunks.

``lmcache server --lookup-hash-log-dir`` writes them (LMCache 0.5.6,
lmcache/tools/cache_simulator/README.md).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.workload.requests.request import Request, Span, private_content
from sim.workload.requests.row_reader import RowReader
from sim.workload.requests.trace_lines import count_of, json_rows, time_ns_of, value_of
from sim.workload.requests.trace_units import TraceUnits

TIME = "timestamp"
HASHES = "chunk_hashes"
HEXADECIMAL = 16


def read_lookup_log(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests of a log, in its order, the first at time 0. Raises InputError when it
    comes to a wrong line.

    The log does not say how long answers were, so each counts as one token. No other prompt shares
    the tokens behind the last full chunk.
    """
    ns_per_time = units.ns_per_time(NS_PER_S)
    reader = RowReader(
        time=TIME,
        time_ns=lambda row, where: time_ns_of(row, TIME, where, ns_per_time),
        prompt=_prompt,
        output=None,
    )
    return reader.requests(json_rows(path))


def _prompt(row: Mapping[str, Any], number: int, where: str) -> tuple[Span, ...]:
    tokens = count_of(row, "seq_len", where)
    chunk = count_of(row, "chunk_size", where)
    hashes = value_of(row, HASHES, where)
    if not isinstance(hashes, list) or len(hashes) != tokens // chunk:
        got = f"{len(hashes)}" if isinstance(hashes, list) else repr(hashes)
        raise InputError(
            f"{where}: {HASHES} must list the {tokens // chunk} full chunks of {tokens} tokens, got {got}"
        )
    spans = [Span(content=_content(text, where), num_tokens=chunk) for text in hashes]
    tail = tokens - chunk * len(spans)
    return tuple(
        [*spans, Span(content=private_content(number), num_tokens=tail)] if tail else spans
    )


def _content(text: Any, where: str) -> int:
    try:
        # A hash covers all tokens before its chunk too, so equal hashes mean equal content.
        content = int(text, HEXADECIMAL)
    except (TypeError, ValueError):
        content = -1
    if content < 0:
        raise InputError(
            f"{where}: {HASHES} must be hexadecimal text such as '0xabcd1234', got {text!r}"
        )
    return content
