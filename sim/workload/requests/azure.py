"""Azure's traces of LLM inference: arrival and lengths only (github.com/Azure/AzurePublicDataset,
CC-BY-4.0).

2023 and 2024 have three columns (AzureLLMInferenceDataset2023.md, 2024.md); 2025 has NumImages too
(AzureLMMInferenceDataset2025.md).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hwprofiles import InputError
from hwprofiles.units import NS_PER_S
from sim.workload.requests.csv_rows import csv_rows
from sim.workload.requests.request import Request, Span
from sim.workload.requests.trace_lines import answer_of, count_of, in_order
from sim.workload.requests.trace_units import TraceUnits

TIME = "TIMESTAMP"
PROMPT = "ContextTokens"
OUTPUT = "GeneratedTokens"
NANO_DIGITS = 9
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII
)


def read_azure(path: Path, units: TraceUnits) -> Iterator[Request]:
    """The requests of a trace, in its order, the first at time 0. Raises InputError when it comes
    to a wrong line.

    The trace says nothing of what prompts have in common: each is its own content. Its times are
    dates, whatever the units.
    """
    start_ns = None
    previous_ns = 0
    for number, (where, row) in enumerate(
        csv_rows(path, (TIME, PROMPT, OUTPUT), takes_others=True)
    ):
        time_ns = in_order(_time_ns(row[TIME], where), previous_ns, TIME, where)
        start_ns = time_ns if start_ns is None else start_ns
        previous_ns = time_ns
        prompt = (Span(content=number, num_tokens=count_of(row, PROMPT, where)),)
        output_tokens = answer_of(row, OUTPUT, where)
        yield Request(
            number=number, arrival_ns=time_ns - start_ns, prompt=prompt, output_tokens=output_tokens
        )


def _time_ns(text: str, where: str) -> int:
    match = _TIMESTAMP.fullmatch(text.strip())
    try:
        seconds = (
            int(datetime.fromisoformat(match.group(1)).replace(tzinfo=UTC).timestamp())
            if match
            else -1
        )
    except ValueError:
        seconds = -1
    if match is None or seconds < 0:
        raise InputError(
            f"{where}: {TIME} must be a time such as 2023-11-16 18:15:46.6805900, got {text!r}"
        )
    return seconds * NS_PER_S + int((match.group(2) or "0").ljust(NANO_DIGITS, "0"))
