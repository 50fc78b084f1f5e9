"""The build that a measured row ran: the number of the newest pull request in it."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from itertools import pairwise
from types import MappingProxyType

from sim.runtimes.llama_cpp.arguments import IK_LLAMA_CPP, LLAMA_CPP
from sim.runtimes.question import NEWEST_BUILD
from validation.accuracy.rows import MeasuredRow

_NUMBERS: Mapping[str, tuple[tuple[str, int], ...]] = MappingProxyType(
    {
        # Highest number merged so far, by the dates of the commits that name it.
        IK_LLAMA_CPP: (
            *(("2024-07-28", 6), ("2024-09-29", 69), ("2024-12-23", 163), ("2025-01-30", 184)),
            *(("2025-02-27", 235), ("2025-03-29", 295), ("2025-04-30", 360), ("2025-05-31", 478)),
            *(("2025-06-27", 560), ("2025-07-26", 654), ("2025-08-31", 741), ("2025-09-30", 807)),
            *(("2025-10-31", 882), ("2025-11-30", 1025), ("2025-12-29", 1097)),
            *(("2026-01-30", 1206), ("2026-02-28", 1340), ("2026-03-31", 1562)),
            *(("2026-04-30", 1714), ("2026-05-30", 1901), ("2026-06-30", 2061)),
            *(("2026-07-31", 2219), ("2026-08-15", 2324)),
        ),
        # Numbers of its own threads, by the day each was opened.
        LLAMA_CPP: (
            *(("2025-01-28", 11474), ("2025-05-14", 13435), ("2025-08-15", 15346)),
            *(("2025-09-12", 15952), ("2025-12-11", 17936), ("2026-01-22", 19012)),
            *(("2026-02-10", 19480), ("2026-05-16", 23170), ("2026-08-28", 27742)),
            ("2026-09-19", 28414),
        ),
    }
)
"""The newest pull request by day and runtime. Between two days the number grows evenly."""


def build_of(row: MeasuredRow) -> int:
    """Return the number of the newest pull request in the row's build.

    The version states it, if it names a pull request. Else the row is dated by the day that its
    source states, or by the day on which its thread was opened, whichever is later. A thread goes
    on for months after its number. The thread may be in this program's repository or in the
    other's. ``main of PR #n`` is the build that the pull request was compared with.
    """
    if row.runtime not in _NUMBERS:
        return NEWEST_BUILD
    stated = re.search(r"(?:PR |pull/)#?(\d+)", row.runtime_version)
    # A pull request is compared with the build before it.
    is_before = row.runtime_version.startswith("main")
    if stated is not None:
        return int(stated.group(1)) - is_before
    known = []
    thread = re.search(r"/((?:ik_)?llama\.cpp)/(?:pull|issues|discussions)/(\d+)", row.source)
    if thread is not None and thread.group(1) == row.runtime:
        known.append(int(thread.group(2)) - is_before)
    elif thread is not None:
        opened = _opened_on(int(thread.group(2)), thread.group(1))
        known.append(_newest_on(opened, row.runtime))
    day = re.search(r"; (20\d\d-\d\d-\d\d)\b", row.source)
    if day is not None:
        known.append(_newest_on(date.fromisoformat(day.group(1)), row.runtime))
    return max(known, default=NEWEST_BUILD)


def _newest_on(when: date, runtime: str) -> int:
    """Return the newest pull request on a day; NEWEST_BUILD after the last known day."""
    numbers = _NUMBERS[runtime]
    for (start, first), (end, last) in pairwise(numbers):
        begin = date.fromisoformat(start)
        rest = date.fromisoformat(end)
        if when <= rest:
            share = max(0, (when - begin).days) / (rest - begin).days
            return first + int(share * (last - first))
    return NEWEST_BUILD


def _opened_on(number: int, runtime: str) -> date:
    """Return the day on which a thread of that number was opened.

    A number above the last known gives the day after the last known day.
    """
    numbers = _NUMBERS[runtime]
    for (start, first), (end, last) in pairwise(numbers):
        begin = date.fromisoformat(start)
        rest = date.fromisoformat(end)
        if number <= last:
            share = max(0, number - first) / (last - first)
            return begin + share * (rest - begin)
    # A day past the table, whose newest build is not known.
    return date.fromisoformat(numbers[-1][0]) + timedelta(days=1)
