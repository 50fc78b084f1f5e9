"""The fast engine and the reference agree to the nanosecond on random programs and random
processes.
"""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.engine import engine
from sim.engine.program import FULL_RATE, Platform, Program
from sim.engine.task import Discipline, Resource, Task, TaskTable, task_table
from sim.engine.timeline import Timeline
from tests.sim.engine.strategies import (
    Script,
    Submit,
    busy_process,
    platforms,
    process_of,
    programs,
    scripts,
    tasks_of,
)

# The deadline is off because the first example compiles.
thorough = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def assert_equal(one: Timeline, other: Timeline) -> None:
    """All columns of both are equal."""
    for column in ("start_ns", "end_ns", "busy_ns", "is_dropped"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)
    assert one.digest == other.digest


def assert_engines_agree_on_program(platform: Platform, tasks: TaskTable) -> None:
    """Both engines give one timeline."""
    program = Program(platform=platform, tasks=tasks)
    assert_equal(engine("fast").run_program(program), engine("reference").run_program(program))


@thorough
@given(platform=platforms(), rows=programs)
def test_random_programs_are_equal(platform: Platform, rows: tuple) -> None:
    """Programs on resources of both disciplines, with and without interference."""
    assert_engines_agree_on_program(
        platform, task_table(tasks_of(Submit(rows), len(platform.resources), 0))
    )


@thorough
@given(platform=platforms(), script=scripts)
def test_random_processes_are_equal(platform: Platform, script: Script) -> None:
    """Processes that submit, wait, promote and drop see and cause the same in both engines."""
    logs: list[list[object]] = [[], []]
    timelines = [
        engine(name).run_process(platform, process_of(script, len(platform.resources), log))
        for name, log in zip(("fast", "reference"), logs, strict=True)
    ]
    assert logs[0] == logs[1]
    assert_equal(*timelines)


@given(seed=st.integers(0, 10**6), has_interference=st.booleans())
@settings(max_examples=12)
def test_long_programs_are_equal(seed: int, has_interference: bool) -> None:
    """A thousand tasks: deep heaps, many chunk borders, many equal times."""
    rng = np.random.default_rng(seed)
    resources = tuple(
        Resource(name=f"r{index}", discipline=Discipline.PRIORITY if index else Discipline.IN_ORDER)
        for index in range(5)
    )
    factors = rng.integers(FULL_RATE // 2, FULL_RATE, (5, 5)) if has_interference else None
    longest_ns = int(rng.choice([4, 40, 4000]))
    tasks = [
        Task(
            resource=int(rng.integers(5)),
            duration_ns=int(rng.integers(longest_ns)),
            priority=int(rng.integers(3)),
            num_chunks=int(rng.choice([1, 1, 2, 7])),
            after=tuple(
                {int(back) for back in rng.integers(max(0, number - 30), number, rng.integers(3))}
                if number
                else ()
            ),
        )
        for number in range(1000)
    ]
    assert_engines_agree_on_program(
        Platform(resources=resources, rate_factors=factors), task_table(tasks)
    )


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_long_processes_are_equal(seed: int) -> None:
    """Promotions and drops anywhere in full queues."""
    resources = tuple(
        Resource(name=f"r{index}", discipline=Discipline.PRIORITY if index else Discipline.IN_ORDER)
        for index in range(3)
    )
    platform = Platform(resources=resources)
    assert_equal(
        *(
            engine(name).run_process(platform, busy_process(seed, 3))
            for name in ("fast", "reference")
        )
    )
