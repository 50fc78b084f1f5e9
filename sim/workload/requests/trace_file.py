"""The formats of traces: a file's ending, then the keys of its first line, tell which one
it has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from hwprofiles import InputError
from hwprofiles.errors import shortened
from hwprofiles.json_file import read_json_value
from sim.workload.requests.azure import OUTPUT as AZURE_OUTPUT
from sim.workload.requests.azure import PROMPT as AZURE_PROMPT
from sim.workload.requests.azure import TIME as AZURE_TIME
from sim.workload.requests.azure import read_azure
from sim.workload.requests.benchmark_results import (
    ERRORS,
    INPUTS,
    METADATA,
    METRICS,
    OUTPUTS,
    STARTS,
    read_aiperf,
    read_vllm_result,
)
from sim.workload.requests.block_trace import FIELDS as BLOCK_FIELDS
from sim.workload.requests.block_trace import HASHES, read_bailian, read_mooncake
from sim.workload.requests.burstgpt import OUTPUT as BURST_OUTPUT
from sim.workload.requests.burstgpt import PROMPT as BURST_PROMPT
from sim.workload.requests.burstgpt import TIME as BURST_TIME
from sim.workload.requests.burstgpt import read_burstgpt
from sim.workload.requests.csv_rows import header_of
from sim.workload.requests.lengths import ARRIVAL, OUTPUT, PROMPT, read_lengths
from sim.workload.requests.listed_lengths import (
    ARRIVALS,
    CONVERSATIONS,
    PROMPTS,
    read_listed_lengths,
)
from sim.workload.requests.listed_lengths import OUTPUTS as LISTED_OUTPUTS
from sim.workload.requests.lookup_log import HASHES as CHUNKS
from sim.workload.requests.lookup_log import read_lookup_log
from sim.workload.requests.request import Request
from sim.workload.requests.trace_lines import json_rows
from sim.workload.requests.trace_units import AS_FORMAT, TraceUnits

Reader = Callable[[Path, TraceUnits], Iterator[Request]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFormat:
    """A format: the ending of its files, the keys that each tell it apart (``marks``), and what
    reads it.

    ``read`` gives every request, those without an answer too. ``fields`` are all keys that are
    used. ``shared`` is the key that says what prompts have in common (None: no key does). ``units``
    are the units that may be stated. ``names_others``: a note names the other keys of a file.
    """

    name: str
    suffix: str
    marks: tuple[str, ...]
    fields: tuple[str, ...]
    read: Reader
    shared: str | None = None
    units: frozenset[str] = frozenset()
    names_others: bool = True


BOTH_UNITS = frozenset({"block_tokens", "time_unit"})
TIME_UNIT = frozenset({"time_unit"})
LENGTHS = (PROMPT, OUTPUT, ARRIVAL)
BAILIAN_MARKS = ("chat_id", "parent_chat_id")

LISTED_MARKS = ("prompt_len", "input_len", CONVERSATIONS)
LISTED_FIELDS = (*PROMPTS, *LISTED_OUTPUTS, *ARRIVALS, CONVERSATIONS)
PAIRS = "pairs of lengths"
"""A word in place of keys, for a list whose items are pairs without keys."""

# Bailian before Mooncake: it has all of Mooncake's keys besides its own. Likewise the own format of
# lengths comes before lists of lengths.
FORMATS: Sequence[TraceFormat] = (
    TraceFormat(
        name="Bailian",
        suffix=".jsonl",
        marks=BAILIAN_MARKS,
        fields=BLOCK_FIELDS,
        read=read_bailian,
        shared=HASHES,
        units=BOTH_UNITS,
    ),
    TraceFormat(
        name="Mooncake",
        suffix=".jsonl",
        marks=(HASHES, "input_length"),
        fields=BLOCK_FIELDS,
        read=read_mooncake,
        shared=HASHES,
        units=BOTH_UNITS,
    ),
    TraceFormat(
        name="LMCache lookup log",
        suffix=".jsonl",
        marks=(CHUNKS,),
        fields=("timestamp", "seq_len", "chunk_size", CHUNKS),
        read=read_lookup_log,
        shared=CHUNKS,
        units=TIME_UNIT,
    ),
    TraceFormat(
        name="lengths",
        suffix=".jsonl",
        marks=(PROMPT,),
        fields=LENGTHS,
        read=read_lengths,
    ),
    TraceFormat(
        name="AIPerf",
        suffix=".jsonl",
        marks=(METRICS,),
        fields=(METADATA, METRICS, "error"),
        read=read_aiperf,
    ),
    TraceFormat(
        name="listed lengths",
        suffix=".jsonl",
        marks=LISTED_MARKS,
        fields=LISTED_FIELDS,
        read=read_listed_lengths,
    ),
    TraceFormat(
        name="vllm bench serve",
        suffix=".json",
        marks=(INPUTS, OUTPUTS),
        fields=(INPUTS, OUTPUTS, STARTS, ERRORS),
        read=read_vllm_result,
        names_others=False,
    ),
    TraceFormat(
        name="listed lengths",
        suffix=".json",
        marks=(*PROMPTS, *LISTED_MARKS, PAIRS),
        fields=LISTED_FIELDS,
        read=read_listed_lengths,
    ),
    TraceFormat(
        name="Azure",
        suffix=".csv",
        marks=(AZURE_PROMPT,),
        fields=(AZURE_TIME, AZURE_PROMPT, AZURE_OUTPUT),
        read=read_azure,
    ),
    TraceFormat(
        name="BurstGPT",
        suffix=".csv",
        marks=(BURST_PROMPT, BURST_OUTPUT),
        fields=(BURST_TIME, BURST_PROMPT, BURST_OUTPUT),
        read=read_burstgpt,
        units=TIME_UNIT,
    ),
    TraceFormat(
        name="lengths",
        suffix=".csv",
        marks=(PROMPT,),
        fields=LENGTHS,
        read=read_lengths,
    ),
)
"""Every format. If several fit a file, the first of them is taken."""


def read_trace(path: Path, units: TraceUnits = AS_FORMAT) -> Iterator[Request]:
    """The answered requests of a trace in any format that Rosin reads, numbered from 0.

    The first is read at once, the others as they are asked for. Raises InputError at once for an
    unknown format or a file without an answered request, and later for a wrong line, when it is
    reached.
    """
    requests = _answered(_checked(path, units).read(path, units))
    first = next(requests, None)
    if first is None:
        raise InputError(f"{path}: no request with an answer in it")
    # The first is read now, so that a file that is no trace is refused before anything runs.
    return chain((first,), requests)


def trace_notes(path: Path, units: TraceUnits, num_requests: int | None) -> Iterator[str]:
    """Yield notes on a trace: which keys are ignored, and how many requests without an answer are
    left out.

    Requests count until ``num_requests`` of them had an answer (None: all). Raises InputError as
    read_trace does.
    """
    found = _checked(path, units)
    others = [name for name in _names(path) if name not in found.fields and name not in found.marks]
    if others and found.names_others:
        yield f"{path}: {found.name} trace; not needed and ignored: {shortened(', '.join(others), 160)}"
    num_failed, num_answered = _counts(found.read(path, units), num_requests)
    if num_failed:
        total = num_failed + num_answered
        yield f"{path}: {num_failed:,} of {total:,} requests have no answer (0 output tokens): left out"


def says_what_is_shared(path: Path) -> bool:
    """Whether the trace says what prompts have in common.

    Raises InputError as trace_format does.
    """
    return trace_format(path).shared in _names(path)


def trace_format(path: Path) -> TraceFormat:
    """Return the format of a trace, told by its ending and its first line.

    Raises InputError for an unknown format; the message says which one it looks like.
    """
    formats = [each for each in FORMATS if each.suffix == path.suffix]
    if not formats:
        endings = " or ".join(sorted({each.suffix for each in FORMATS}, reverse=True))
        raise InputError(f"{path}: a request trace is {endings}")
    names = _names(path)
    for each in formats:
        if any(mark in names for mark in each.marks):
            return each
    raise InputError(_unknown(path, names, formats))


def _checked(path: Path, units: TraceUnits) -> TraceFormat:
    """Return the format of a trace. Raises InputError where a unit is stated that the format states
    itself.
    """
    found = trace_format(path)
    surplus = sorted(units.stated - found.units)
    if surplus:
        what = f"{surplus[0]} cannot be stated of a trace in the format {found.name}"
        raise InputError(f"{path}: {what}, which says its own units")
    return found


def _unknown(path: Path, names: Sequence[str], formats: Sequence[TraceFormat]) -> str:
    """Return the message for a file of no known format. It names the format that has most of the
    file's keys.
    """
    kind = "columns" if path.suffix == ".csv" else "keys"
    what = f"{path}:1: no request trace has the {kind} {shortened(', '.join(names) or '(none)')}"
    # With one misspelt mark, most other keys are still right and tell what was meant.
    nearest = max(formats, key=lambda each: len(set(each.fields) & set(names)))
    if set(nearest.fields) & set(names):
        return f"{what}; it looks like {nearest.name}, which has {', '.join(nearest.fields)}"
    known = ", ".join(f"{each.marks[0]} ({each.name})" for each in formats)
    return f"{what}; one of these is due: {known}"


def _names(path: Path) -> tuple[str, ...]:
    """Return the columns, or the keys, of the first line; for ``.json``, of the object or the first
    item.
    """
    if path.suffix == ".csv":
        return header_of(path)
    if path.suffix == ".json":
        return _names_of_value(path)
    first = next(json_rows(path), None)
    if first is None:
        raise InputError(f"{path}: the trace is empty")
    return tuple(first[1])


def _names_of_value(path: Path) -> tuple[str, ...]:
    """The keys of an object, or of the first item of a list."""
    found = read_json_value(path, "request trace")
    if not isinstance(found, list):
        return tuple(found) if isinstance(found, dict) else ()
    first = found[0] if found else {}
    return (PAIRS,) if isinstance(first, list) else tuple(first) if isinstance(first, dict) else ()


def _answered(requests: Iterator[Request]) -> Iterator[Request]:
    """Yield the requests that have an answer, numbered without gaps."""
    number = 0
    for request in requests:
        if request.output_tokens:
            # Numbers say the order of arrival without gaps; those who failed leave gaps.
            yield request if request.number == number else replace(request, number=number)
            number += 1


def _counts(requests: Iterator[Request], num_requests: int | None) -> tuple[int, int]:
    """Return how many requests have no answer, and how many have one, until ``num_requests`` had
    one (None: all).
    """
    num_failed = 0
    num_answered = 0
    for request in requests:
        if request.output_tokens:
            num_answered += 1
        else:
            num_failed += 1
        if num_answered == num_requests:
            break
    return num_failed, num_answered
