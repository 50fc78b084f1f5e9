"""What holds for every timeline, whatever the engine: resources run one thing at a time, nothing is
faster than its bounds.
"""

import numpy as np
from hypothesis import given, settings

from sim.engine import engine
from sim.engine.program import Platform, Program
from sim.engine.task import TaskTable, task_table
from sim.engine.timeline import Timeline
from tests.sim.engine.strategies import Submit, platforms, programs, tasks_of

ENGINE = "fast"
"""The reference is equal to it: test_engine_equivalence.py."""

several = settings(max_examples=150, deadline=None)


def run_rows(where: Platform, rows: tuple, max_chunks: int | None = None) -> Timeline:
    """The timeline of random rows, with chunks or without."""
    tasks = task_table(
        tasks_of(
            Submit(
                tuple(
                    (*row[:3], row[3] if max_chunks is None else max_chunks, row[4]) for row in rows
                )
            ),
            len(where.resources),
            0,
        )
    )
    return engine(ENGINE).run_program(Program(platform=where, tasks=tasks))


def critical_path_ns(tasks: TaskTable) -> int:
    """The longest chain of dependencies at full rate."""
    ends: list[int] = []
    offsets = tasks.dependency_offsets
    for number, duration_ns in enumerate(tasks.duration_ns.tolist()):
        before = [
            ends[other] for other in tasks.dependencies[offsets[number] : offsets[number + 1]]
        ]
        ends.append(max(before, default=0) + duration_ns)
    return max(ends, default=0)


@several
@given(where=platforms(), rows=programs)
def test_makespan_is_at_least_every_bound(where: Platform, rows: tuple) -> None:
    """No run ends before its critical path or its busiest resource."""
    timeline = run_rows(where, rows)
    busiest = np.bincount(timeline.tasks.resource, timeline.tasks.duration_ns, minlength=1).max()
    assert timeline.makespan_ns >= max(critical_path_ns(timeline.tasks), int(busiest))


@several
@given(where=platforms(), rows=programs)
def test_dependencies_end_before_their_tasks_start(where: Platform, rows: tuple) -> None:
    """Start of a task at or after the end of each dependency; ends after starts."""
    timeline = run_rows(where, rows)
    own = np.repeat(np.arange(len(timeline.tasks)), np.diff(timeline.tasks.dependency_offsets))
    assert (timeline.end_ns[timeline.tasks.dependencies] <= timeline.start_ns[own]).all()
    assert (timeline.end_ns - timeline.start_ns >= timeline.busy_ns).all()


@several
@given(where=platforms(), rows=programs)
def test_busy_and_idle_make_up_the_makespan(where: Platform, rows: tuple) -> None:
    """Unchunked tasks of one resource do not overlap, and what lies between them is the rest of the
    time.
    """
    timeline = run_rows(where, rows, max_chunks=1)
    busy = timeline.busy_by_resource_ns()
    for index, resource in enumerate(where.resources):
        mine = np.flatnonzero(timeline.tasks.resource == index)
        order = mine[np.lexsort((timeline.end_ns[mine], timeline.start_ns[mine]))]
        starts, ends = timeline.start_ns[order], timeline.end_ns[order]
        gaps = np.append(starts, timeline.makespan_ns) - np.insert(ends, 0, 0)
        assert (gaps >= 0).all()
        assert busy[resource.name] + gaps.sum() == timeline.makespan_ns


@several
@given(where=platforms(interferes=False), rows=programs)
def test_without_interference_work_takes_its_duration(where: Platform, rows: tuple) -> None:
    """Chunks change when work is done, not how much."""
    timeline = run_rows(where, rows)
    np.testing.assert_array_equal(timeline.busy_ns, timeline.tasks.duration_ns)


@several
@given(where=platforms(interferes=True), rows=programs)
def test_interference_makes_nothing_shorter(where: Platform, rows: tuple) -> None:
    """No task is held for less than its duration."""
    timeline = run_rows(where, rows)
    assert (timeline.busy_ns >= timeline.tasks.duration_ns).all()


@several
@given(where=platforms(interferes=False), rows=programs)
def test_some_resource_is_always_at_work(where: Platform, rows: tuple) -> None:
    """List scheduling never idles everywhere: at any time before the makespan something runs."""
    timeline = run_rows(where, rows, max_chunks=1)
    covered = 0
    for start, end in sorted(
        zip(timeline.start_ns.tolist(), timeline.end_ns.tolist(), strict=True)
    ):
        assert start <= covered
        covered = max(covered, end)
    assert covered == timeline.makespan_ns
