"""Measure how much faster the fast engine is than the reference, and its memory.

``python -m pytest -s benchmarks/test_engine_speed.py`` prints the table of docs/performance.md.
Memory is that of ten million tasks. Machines are shared, so each ratio is of best times taken in
turn in one process. The tests assert what was computed, not how fast.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace

import pytest

from benchmarks.programs import (
    LANES,
    LAYER,
    MACHINE,
    STREAMS,
    disturbed,
    finely_chunked_program,
    in_order_program,
    layered_program,
)
from sim.engine import Engine, engine
from sim.engine.program import Platform, Program, Session, Wait
from sim.engine.task import Resource, TaskTable

IN_ORDER_LANES = Platform(resources=tuple(Resource(name=lane.name) for lane in LANES))

CASES: dict[str, tuple[Platform, Callable[[int, int], TaskTable]]] = {
    "flat, layers": (IN_ORDER_LANES, layered_program),
    "flat, random": (STREAMS, in_order_program),
    "priorities and chunks, layers": (MACHINE, layered_program),
    "priorities and many chunks, layers": (MACHINE, finely_chunked_program),
    "interference, layers": (disturbed(MACHINE), layered_program),
    "interference, random in order": (disturbed(STREAMS), in_order_program),
}

REFERENCE_TASKS, FAST_TASKS, ROUNDS = 20_000, 200_000, 5


def seconds_a_task(contender: Engine, program: Program) -> float:
    """Return the wall-clock seconds that one run takes per task."""
    start = time.perf_counter()
    timeline = contender.run_program(program)
    took = time.perf_counter() - start
    assert len(timeline.end_ns) == len(program.tasks) and timeline.makespan_ns > 0
    return took / len(program.tasks)


@pytest.mark.parametrize("case", CASES)
def test_fast_against_reference(case: str) -> None:
    """Both engines compute the same timeline; print the time that each takes per task."""
    platform, build = CASES[case]
    small, large = (
        Program(platform=platform, tasks=build(size, 1)) for size in (REFERENCE_TASKS, FAST_TASKS)
    )
    fast, reference = engine("fast"), engine("reference")
    assert fast.run_program(small).digest == reference.run_program(small).digest
    slow_s = min(seconds_a_task(reference, small) for _ in range(2))
    fast_s = min(seconds_a_task(fast, large) for _ in range(ROUNDS))
    print(f"\n| {case} | {slow_s * 1e6:.1f} us | {fast_s * 1e9:.1f} ns | {slow_s / fast_s:.0f} |")


def decide(session: Session) -> Generator[Wait, None, None]:
    """Submit a layer, wait for its experts and promote a prefetch, a thousand times."""
    layer = layered_program(len(LAYER), 1)
    for first in range(0, 1000 * len(LAYER), len(LAYER)):
        session.submit(replace(layer, dependencies=layer.dependencies + first))
        yield (first + 10,)
        session.promote(first + 13, 1)


def test_decisions_of_a_process() -> None:
    """Print each engine's time from one decision to the next, with fourteen tasks each."""
    taken_s = {"fast": 1e9, "reference": 1e9}
    for name in ["fast", "reference"] * 3:
        start = time.perf_counter()
        timeline = engine(name).run_process(MACHINE, decide)
        taken_s[name] = min(taken_s[name], time.perf_counter() - start)
        assert len(timeline.tasks) == 1000 * len(LAYER)
    slow_us, fast_us = taken_s["reference"] * 1e3, taken_s["fast"] * 1e3
    print(f"\n| decisions | {slow_us:.0f} us | {fast_us:.1f} us | {slow_us / fast_us:.0f} |")


MEMORY_RUN = """
import resource, sys, time
from benchmarks.programs import in_order_program, layered_program
from benchmarks.test_engine_speed import CASES
from sim.engine import engine
from sim.engine.program import Program
platform, build = CASES[sys.argv[1]]
program = Program(platform=platform, tasks=build(int(sys.argv[2]), 1))
import gc; gc.collect()
built = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
open("/proc/self/clear_refs", "w").write("5")
start = time.perf_counter()
timeline = engine("fast").run_program(program)
took = time.perf_counter() - start
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(timeline.end_ns), built, peak, took)
"""


@pytest.mark.parametrize(
    "case", ["flat, layers", "priorities and chunks, layers", "interference, layers"]
)
def test_ten_million_tasks_fit_in_two_gb(case: str) -> None:
    """Ten million tasks, their table included, fit in 2 GB of peak resident memory."""
    if not sys.platform.startswith("linux"):
        pytest.skip("peak memory is read from /proc")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_RUN, case, "10000000"],
        capture_output=True,
        text=True,
        check=True,
    )
    num_tasks, built_bytes, peak_bytes, took_s = (float(word) for word in done.stdout.split())
    print(f"\n| {case} | {built_bytes / 1e9:.2f} GB | {peak_bytes / 1e9:.2f} GB | {took_s:.2f} s |")
    assert num_tasks >= 10_000_000
    assert peak_bytes < 2e9
