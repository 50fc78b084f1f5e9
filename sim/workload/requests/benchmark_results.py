"""What benchmarks write of their requests: arrivals and lengths, which can be served again.

``vllm bench serve --save-result --save-detailed`` (vllm/benchmarks/serve.py) writes one object with
``input_lens``, ``output_lens``, ``start_times`` (seconds of a clock of its own) and ``errors``.
AIPerf's ``profile_export.jsonl`` (docs/tutorials/working-with-profile-exports.md) has a line for
each request, in the order in which they ended, with ``metadata``, ``metrics`` and ``error``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwprofiles import InputError, read_json
from hwprofiles.units import NS_PER_S
from sim.workload.requests.request import Lengths, Request, from_lengths
from sim.workload.requests.trace_lines import answer_of, count_of, json_rows, time_ns_of, value_of
from sim.workload.requests.trace_units import TraceUnits

INPUTS = "input_lens"
OUTPUTS = "output_lens"
STARTS = "start_times"
ERRORS = "errors"
METADATA = "metadata"
METRICS = "metrics"
START = "request_start_ns"
PHASE = "benchmark_phase"
WARMUP = "warmup"
PROMPT_METRIC = "input_sequence_length"
OUTPUT_METRIC = "output_sequence_length"


def read_vllm_result(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests of a run, in the order of their starts; all at time 0 where no starts are
    stated.

    Raises InputError for a key that is missing or a wrong value.
    """
    result = read_json(path, "request trace")
    inputs = _list(result, INPUTS, None, str(path))
    outputs = _list(result, OUTPUTS, len(inputs), str(path))
    starts = (
        _list(result, STARTS, len(inputs), str(path)) if STARTS in result else [0] * len(inputs)
    )
    errors = (
        _list(result, ERRORS, len(inputs), str(path)) if ERRORS in result else [""] * len(inputs)
    )
    found = []
    for number, start in enumerate(starts):
        row = {INPUTS: inputs[number], OUTPUTS: outputs[number], STARTS: start}
        where = f"{path}: request {number}"
        # A request that failed may still have some tokens; as in vLLM's own figures, it does not
        # count.
        tokens = 0 if errors[number] else answer_of(row, OUTPUTS, where)
        time_ns = time_ns_of(row, STARTS, where, NS_PER_S)
        found.append(
            Lengths(
                time_ns=time_ns, prompt_tokens=count_of(row, INPUTS, where), output_tokens=tokens
            )
        )
    return from_lengths(found)


def read_aiperf(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests of a run, in the order of their starts; those of its warm-up are left out.

    Raises InputError for a wrong line.
    """
    return from_lengths(found for where, row in json_rows(path) for found in _record(row, where))


def _record(row: Mapping[str, Any], where: str) -> Iterator[Lengths]:
    """Yield the request of one line; nothing for a request of the warm-up."""
    metadata = _object(row, METADATA, where)
    if metadata.get(PHASE) == WARMUP:
        return
    time_ns = time_ns_of(metadata, START, where, 1)
    if row.get("error") is not None:
        # nobody may have said how long a failed request was, and it is left out anyhow
        yield Lengths(time_ns=time_ns, prompt_tokens=1, output_tokens=0)
        return
    metrics = _object(row, METRICS, where)
    prompt = _metric(metrics, PROMPT_METRIC, where)
    output = _metric(metrics, OUTPUT_METRIC, where)
    yield Lengths(
        time_ns=time_ns,
        prompt_tokens=count_of(prompt, PROMPT_METRIC, where),
        output_tokens=answer_of(output, OUTPUT_METRIC, where),
    )


def _metric(metrics: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """Return the value of a metric, under its name; a float that is whole becomes an int."""
    value = value_of(_object(metrics, name, where), "value", f"{where}: {name}")
    # AIPerf writes every metric as a float, counts too.
    is_whole = isinstance(value, float) and value.is_integer()
    return {name: int(value) if is_whole else value}


def _object(row: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = value_of(row, key, where)
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} must be an object, got {type(value).__name__}")
    return value


def _list(row: Mapping[str, Any], key: str, length: int | None, where: str) -> list[Any]:
    value = value_of(row, key, where)
    if not isinstance(value, list) or (length is not None and len(value) != length):
        many = "" if length is None else f" of {length:,} values, one for each request"
        got = f"{len(value):,}" if isinstance(value, list) else type(value).__name__
        raise InputError(f"{where}: {key} must be a list{many}, got {got}")
    return value
