"""Lists of lengths, as they are drawn from ShareGPT and the like: prompt and output tokens, perhaps
arrivals; CSV or JSONL.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwprofiles import InputError, closest
from hwprofiles.units import NS_PER_S
from sim.workload.requests.csv_rows import csv_rows
from sim.workload.requests.request import Request
from sim.workload.requests.row_reader import RowReader, own_content
from sim.workload.requests.trace_lines import json_rows, time_ns_of
from sim.workload.requests.trace_units import TraceUnits

PROMPT = "prompt_tokens"
OUTPUT = "output_tokens"
ARRIVAL = "arrival_s"


def read_lengths(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests of a list, in its order; without ``arrival_s`` all arrive at time 0.
    Raises InputError at a wrong line.

    The list does not say what prompts have in common, so each is its own content. Its keys state
    their units, so ``units`` plays no part.
    """
    reader = RowReader(
        time=ARRIVAL,
        time_ns=lambda row, where: (
            time_ns_of(row, ARRIVAL, where, NS_PER_S) if ARRIVAL in row else None
        ),
        prompt=own_content(PROMPT),
        output=OUTPUT,
        starts_at_zero=False,
    )
    return reader.requests(_rows(path))


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix == ".csv":
        return csv_rows(path, (PROMPT, OUTPUT), (ARRIVAL,))
    return _known_keys(path)


def _known_keys(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    keys = (PROMPT, OUTPUT, ARRIVAL)
    for where, row in json_rows(path):
        for key in row:
            # A misspelt arrival_s would otherwise be ignored, and all requests would come at once.
            if key not in keys:
                raise InputError(f"{where}: unknown key {key}{closest(key, keys)}")
        yield where, row
