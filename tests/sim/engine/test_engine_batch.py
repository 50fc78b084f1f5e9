"""Makespans of many candidates at once are those of the single runs."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.programs import NUM_STREAMS, STREAMS, in_order_program
from hwprofiles import InputError
from sim.engine import engine
from sim.engine.batch import makespans
from sim.engine.program import Program
from sim.engine.task import task_table


def test_batch_equals_single_runs() -> None:
    """Forty rows of durations over one table."""
    tasks = in_order_program(500, seed=1)
    durations_CN = np.random.default_rng(2).integers(0, 1000, (40, len(tasks)))
    found = makespans(tasks.resource, tasks.dependency_offsets, tasks.dependencies, durations_CN)
    programs = [
        Program(platform=STREAMS, tasks=replace(tasks, duration_ns=row)) for row in durations_CN
    ]
    assert found.tolist() == [
        engine("reference").run_program(program).makespan_ns for program in programs
    ]
    assert int(tasks.resource.max()) + 1 == NUM_STREAMS


def test_batch_of_nothing() -> None:
    """No tasks take no time; no candidates give no answers."""
    table = task_table([])
    assert makespans(
        table.resource, table.dependency_offsets, table.dependencies, np.zeros((3, 0), np.int64)
    ).tolist() == [0, 0, 0]
    assert (
        makespans(
            table.resource, table.dependency_offsets, table.dependencies, np.zeros((0, 0), np.int64)
        ).tolist()
        == []
    )


def test_batch_refuses_durations_of_another_program() -> None:
    """A column a task."""
    tasks = in_order_program(5, seed=1)
    with pytest.raises(
        InputError, match=r"durations must be C x 5 and offsets 6 for 5 tasks, got \(2, 4\)"
    ):
        makespans(
            tasks.resource, tasks.dependency_offsets, tasks.dependencies, np.zeros((2, 4), np.int64)
        )
