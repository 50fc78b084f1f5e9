"""Shares of a run by what was busy, against timelines worked out by hand."""

import pytest

from rosin.report.occupancy import alone, occupancy
from sim.engine import engine
from sim.engine.program import Platform, Program
from sim.engine.task import Resource, Task, task_table
from sim.engine.timeline import Timeline

PLATFORM = Platform(resources=(Resource(name="gpu"), Resource(name="cpu"), Resource(name="h2d")))
GPU, CPU, H2D = range(3)


def _timeline(*tasks: Task) -> Timeline:
    return engine("reference").run_program(Program(platform=PLATFORM, tasks=task_table(tasks)))


def test_by_hand() -> None:
    """10 ns of GPU and CPU, 10 ns of CPU alone, then 20 ns of copying: a quarter, a quarter, a
    half.
    """
    shares = occupancy(
        _timeline(
            Task(resource=GPU, duration_ns=10),
            Task(resource=CPU, duration_ns=20),
            Task(resource=H2D, duration_ns=20, after=(0, 1)),
        )
    )
    assert shares == pytest.approx(
        {frozenset({"gpu", "cpu"}): 0.25, frozenset({"cpu"}): 0.25, frozenset({"h2d"}): 0.5}
    )
    assert [alone(shares, "cpu"), alone(shares, "gpu")] == pytest.approx([0.25, 0])


def test_neighbours_leave_no_gap() -> None:
    """Tasks that follow each other at once, and those of no length, make one unbroken share."""
    shares = occupancy(
        _timeline(*[Task(resource=GPU, duration_ns=duration) for duration in (5, 0, 7, 1)])
    )
    assert shares == {frozenset({"gpu"}): 1.0}


def test_nothing_happened() -> None:
    """A run without duration has no shares."""
    assert occupancy(_timeline(Task(resource=GPU, duration_ns=0))) == {}
