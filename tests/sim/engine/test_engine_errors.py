"""Tasks, waits and platforms that no engine accepts are refused in one line, the same in all
engines.
"""

from collections.abc import Callable, Generator
from dataclasses import fields, replace

import numpy as np
import pytest

from hwprofiles import InputError
from sim.engine import Engine, engine
from sim.engine.program import FULL_RATE, Program, Session, Wait
from sim.engine.task import Task, TaskTable, task_table
from tests.sim.engine.builders import platform, run, spans

REFUSED = {
    "task 1: 0 <= dependency < 1 must hold, got 1": Task(resource=0, duration_ns=1, after=(1,)),
    "task 1: 0 <= dependency < 1 must hold, got -1": Task(resource=0, duration_ns=1, after=(0, -1)),
    "task 1: resource must be in 0..1, got 2": Task(resource=2, duration_ns=1),
    "task 1: resource must be in 0..1, got -1": Task(resource=-1, duration_ns=1),
    "task 1: 0 <= duration_ns < 2**42 must hold, got 4398046511104": Task(
        resource=0, duration_ns=2**42
    ),
    "task 1: 0 <= duration_ns < 2**42 must hold, got -1": Task(resource=0, duration_ns=-1),
    "task 1: 1 <= num_chunks <= 2**20 must hold, got 0": Task(
        resource=0, duration_ns=1, num_chunks=0
    ),
    "task 1: 1 <= num_chunks <= 2**20 must hold, got 1048577": Task(
        resource=0, duration_ns=1, num_chunks=2**20 + 1
    ),
}


@pytest.mark.parametrize("disciplines", ["ii", "ip", "pp"])
@pytest.mark.parametrize("message", REFUSED)
def test_tasks_beyond_the_limits_are_refused(
    contender: Engine, disciplines: str, message: str
) -> None:
    """The message names the task, the relation and the value."""
    with pytest.raises(InputError) as caught:
        run(contender, disciplines, Task(resource=1, duration_ns=1), REFUSED[message])
    assert str(caught.value) == message


def test_the_largest_values_are_accepted(contender: Engine) -> None:
    """The limits themselves are where they are said to be."""
    timeline = run(contender, "p", *[Task(resource=0, duration_ns=2**42 - 1, num_chunks=2**10)] * 2)
    assert timeline.makespan_ns == 2 * (2**42 - 1)


@pytest.mark.parametrize("disciplines", ["ii", "ip"])
def test_uneven_columns_are_refused(contender: Engine, disciplines: str) -> None:
    """Every column has a row a task, and the offsets one more."""
    table = task_table([Task(resource=0, duration_ns=1)] * 2)
    uneven: list[TaskTable] = [
        replace(table, duration_ns=table.duration_ns[:1]),
        replace(table, expert=table.expert[:1]),
        replace(table, dependency_offsets=np.array([0, 0])),
        replace(table, dependency_offsets=np.array([0, 1, 0])),
    ]
    for tasks in uneven:
        with pytest.raises(
            InputError,
            match=r"column \w+ must have 2 rows, got 1|dependency_offsets must rise from 0 to 0 in 3 numbers",
        ):
            contender.run_program(Program(platform=platform(disciplines), tasks=tasks))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([[1, 0], [1, 1]], "rate factor of i0 beside i1 must be in 1..1048576, got 0"),
        (
            [[1, 1], [FULL_RATE + 1, 1]],
            "rate factor of i1 beside i0 must be in 1..1048576, got 1048577",
        ),
        ([[1, 1]], "rate_factors must be 2 x 2 for 2 resources, got shape (1, 2)"),
    ],
)
def test_factors_out_of_range_are_refused(
    contender: Engine, factors: list[list[int]], message: str
) -> None:
    """Rates neither vanish nor exceed the full one."""
    with pytest.raises(InputError) as caught:
        run(contender, platform("ii", factors))
    assert str(caught.value) == message


def test_the_diagonal_of_the_factors_is_ignored(contender: Engine) -> None:
    """A resource does not disturb itself."""
    assert spans(run(contender, platform("i", [[0]]), Task(resource=0, duration_ns=3))) == [(0, 3)]


ACTIONS: dict[str, Callable[[Session], object]] = {
    "no task 2: 2 submitted": lambda session: session.is_done(2),
    "no task -1: 2 submitted": lambda session: session.is_started(-1),
    "no task 3: 2 submitted": lambda session: session.promote(3, 0),
    "no task 4: 2 submitted": lambda session: session.drop(4),
    "priority must be in -2**31..2**31 - 1, got 2147483648": lambda session: session.promote(
        1, 2**31
    ),
    "a process must wait for at least one task, got an empty wait": lambda session: (),
    "no task 5: 2 submitted": lambda session: (5,),
    "task 2: 0 <= dependency < 2 must hold, got 2": lambda session: session.submit(
        task_table([Task(resource=0, duration_ns=1, after=(2,))])
    ),
}


@pytest.mark.parametrize("message", ACTIONS)
def test_wrong_actions_of_a_process_are_refused(contender: Engine, message: str) -> None:
    """Unknown numbers, and waits that would never end, do not hang."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(task_table([Task(resource=0, duration_ns=1)] * 2))
        yield ACTIONS[message](session)  # type: ignore[misc]

    with pytest.raises(InputError) as caught:
        contender.run_process(platform("ip"), process)
    assert str(caught.value) == message


def test_a_refused_submission_leaves_nothing_behind(contender: Engine) -> None:
    """A process that catches the error goes on as if it had not submitted."""

    def process(session: Session) -> Generator[Wait, None, None]:
        with pytest.raises(InputError):
            session.submit(
                task_table([Task(resource=1, duration_ns=1), Task(resource=9, duration_ns=1)])
            )
        assert session.submit(task_table([Task(resource=1, duration_ns=4)])) == 0
        yield (0,)

    assert spans(contender.run_process(platform("ip"), process)) == [(0, 4)]


def test_time_ends(contender: Engine) -> None:
    """At the lowest rate two tasks end at 2^61 and 2^62: the second is too late."""
    tasks = [Task(resource=resource, duration_ns=2**41) for resource in (0, 0, 1, 1)]
    with pytest.raises(
        InputError, match=r"the run must end before 2\*\*62 ns, got to 4611686018427387904 ns"
    ):
        run(contender, platform("ii", [[1, 1], [1, 1]]), *tasks)


def test_time_ends_in_a_single_pass_too() -> None:
    """So many of the longest tasks on one stream that they end after 2^62 ns."""
    table, count = task_table([Task(resource=0, duration_ns=2**42 - 1)]), 2**20 + 1
    columns = {
        field.name: np.repeat(getattr(table, field.name), count)
        for field in fields(TaskTable)
        if field.name != "dependency_offsets"
    }
    tasks = TaskTable(dependency_offsets=np.zeros(count + 1, np.int64), **columns)
    with pytest.raises(
        InputError, match=r"the run must end before 2\*\*62 ns, got to 4611690416472850431 ns"
    ):
        engine("fast").run_program(Program(platform=platform("i"), tasks=tasks))


def test_unknown_engines_are_refused() -> None:
    """The message has the closest name."""
    with pytest.raises(InputError, match="no engine named 'fats'; did you mean 'fast'"):
        engine("fats")
