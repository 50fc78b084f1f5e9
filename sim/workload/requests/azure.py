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
from sim.workload.requests.request import Request
from sim.workload.requests.row_reader import RowReader, own_content
from sim.workload.requests.trace_units import TraceUnits

TIME = "TIMESTAMP"
PROMPT = "ContextTokens"
OUTPUT = "GeneratedTokens"
NANO_DIGITS = 9
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII
)


def read_azure(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests of a trace, in its order, the first at time 0. Raises InputError when it
    comes to a wrong line.

    The trace does not say what prompts have in common, so each is its own content. Its times are
    dates, so ``units`` plays no part.
    """
    reader = RowReader(
        time=TIME,
        time_ns=lambda row, where: _time_ns(row[TIME], where),
        prompt=own_content(PROMPT),
        output=OUTPUT,
    )
    return reader.requests(csv_rows(path, (TIME, PROMPT, OUTPUT), takes_others=True))


def _time_ns(text: str, where: str) -> int:
    # datetime keeps six digits of a second, the traces have seven; so the fraction is taken apart.
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
    # The fraction is read as digits: a double of seconds since 1970 resolves no more than 240 ns.
    return seconds * NS_PER_S + int((match.group(2) or "0").ljust(NANO_DIGITS, "0"))
