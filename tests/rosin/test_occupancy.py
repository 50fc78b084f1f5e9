"""Shares of a run by what was busy, against timelines worked out by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosin.report.occupancy import alone, occupancy
from sim.engine import engine
from sim.engine.program import Platform, Program
from sim.engine.task import Resource, Task, task_table
from sim.engine.timeline import Timeline

PLATFORM = Platform(resources=(Resource(name="gpu"), Resource(name="cpu"), Resource(name="h2d")))
GPU, CPU, H2D = range(3)


def _timeline(*tasks: Task) -> Timeline:
    return engine("reference").run_program(Program(platform=PLATFORM, tasks=task_table(tasks)))


TASKS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 20),
        st.lists(st.integers(1, 5), max_size=2),
    ),
    max_size=10,
)


@given(TASKS)
def test_shares_are_those_of_counting_each_ns(rows: list[tuple[int, int, list[int]]]) -> None:
    """Who is busy in each ns, counted; neighbours leave no gap, tasks of no length count for
    nothing, and a run without duration has no shares.
    """
    tasks = [
        Task(
            resource=resource,
            duration_ns=duration_ns,
            after=tuple(number - back for back in backs if number >= back),
        )
        for number, (resource, duration_ns, backs) in enumerate(rows)
    ]
    timeline = _timeline(*tasks)
    names = [resource.name for resource in PLATFORM.resources]
    busy = Counter(
        frozenset(
            names[task.resource]
            for task, start_ns, end_ns in zip(
                tasks, timeline.start_ns, timeline.end_ns, strict=True
            )
            if start_ns <= now_ns < end_ns
        )
        for now_ns in range(timeline.makespan_ns)
    )
    shares = occupancy(timeline)
    assert shares == pytest.approx(
        {held: count / timeline.makespan_ns for held, count in busy.items()}
    )
    assert sum(shares.values()) == pytest.approx(1 if busy else 0)
    for name in names:
        assert alone(shares, name) == shares.get(frozenset({name}), 0.0)
