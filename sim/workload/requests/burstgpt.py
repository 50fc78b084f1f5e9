"""BurstGPT: arrivals and lengths of what users asked of ChatGPT and GPT-4
(github.com/HPMLL/BurstGPT).

``Timestamp`` counts seconds from the first day on; a request that failed has 0 response tokens.
"""

from collections.abc import Iterator
from pathlib import Path

from hwprofiles.units import NS_PER_S
from sim.workload.requests.csv_rows import csv_rows
from sim.workload.requests.request import Request
from sim.workload.requests.row_reader import RowReader, own_content
from sim.workload.requests.trace_lines import time_ns_of
from sim.workload.requests.trace_units import TraceUnits

TIME = "Timestamp"
PROMPT = "Request tokens"
OUTPUT = "Response tokens"


def read_burstgpt(path: Path, units: TraceUnits) -> Iterator[Request]:
    """Yield the requests of a trace, in its order, the first at time 0.

    The trace does not say what prompts have in common, so each is its own content. Raises
    InputError when it comes to a wrong line.
    """
    ns_per_time = units.ns_per_time(NS_PER_S)
    reader = RowReader(
        time=TIME,
        time_ns=lambda row, where: time_ns_of(row, TIME, where, ns_per_time),
        prompt=own_content(PROMPT),
        output=OUTPUT,
    )
    return reader.requests(csv_rows(path, (TIME, PROMPT, OUTPUT), takes_others=True))
