"""Measure what compiling costs: CPU seconds of every step of ``rosin prepare``, in an empty cache.

    python -m benchmarks.compile_budget [--functions 20]

Everything runs in one process, step after step, so that no function is compiled twice. The exit
code is 1 if the budget is exceeded. ``--functions`` lists the functions whose own compilation takes
longest.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any

from numba.core import config, event

BUDGET_CPU_S = 60.0
"""The most CPU seconds that all kernels may take together, on an otherwise idle machine (issue 21).
"""


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        config.CACHE_DIR = empty  # type: ignore[attr-defined]
        spent_s = _measure(arguments.functions)
    print(f"{spent_s:7.1f} CPU s in all, of {BUDGET_CPU_S:.0f}; {_pace_s():.2f} s the yardstick")
    return int(spent_s > BUDGET_CPU_S)


def _measure(num_functions: int) -> float:
    """Run the steps; return the CPU seconds of all together."""
    from planner.search.prepare import STEPS

    own_s = _OwnTimes()
    event.register("numba:compile", own_s)  # type: ignore[no-untyped-call]
    total_s = 0.0
    for step in STEPS:
        start_s = time.process_time()
        step.run()
        took_s = time.process_time() - start_s
        total_s += took_s
        print(f"{took_s:7.1f} CPU s  {step.name}", flush=True)
    for name, times in sorted(own_s.found.items(), key=lambda item: -sum(item[1]))[:num_functions]:
        print(f"{sum(times):7.2f} CPU s  {name}, {len(times)} times")
    return total_s


def _pace_s() -> float:
    """Return the CPU seconds of a fixed loop of arithmetic: this machine's present speed."""
    start_s, total = time.process_time(), 0
    for number in range(20_000_000):
        total += number
    return time.process_time() - start_s


class _OwnTimes(event.Listener):
    """Record CPU seconds of compiling each function, without the functions that it calls."""

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = defaultdict(list)
        self._running: list[list[float]] = []

    def on_start(self, found: Any) -> None:
        """Note that numba begins to compile a function."""
        self._running.append([time.process_time(), 0.0])

    def on_end(self, found: Any) -> None:
        """Note that numba has compiled a function."""
        start_s, of_parts_s = self._running.pop()
        took_s = time.process_time() - start_s
        if self._running:
            self._running[-1][1] += took_s
        function = found.data["dispatcher"].py_func
        self.found[f"{function.__module__}.{function.__name__}"].append(took_s - of_parts_s)


if __name__ == "__main__":
    sys.exit(main())
