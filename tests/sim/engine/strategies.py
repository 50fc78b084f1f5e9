"""Random platforms, programs and scripted processes, small enough that ties, chains and full queues
are common.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from sim.engine import ENGINES, engine
from sim.engine.program import FULL_RATE, Platform, Process, Session, Wait
from sim.engine.task import Discipline, Resource, Task, task_table

FACTORS = (1, 2, FULL_RATE // 3, FULL_RATE // 2, FULL_RATE * 3 // 4, FULL_RATE - 1, FULL_RATE)
DURATIONS_NS = (0, 1, 2, 3, 5, 6, 10, 1_000_003, 2**40)


@dataclass(frozen=True)
class Submit:
    """Submit tasks whose dependencies are given as rows back from each."""

    tasks: tuple[tuple[int, int, int, int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Await:
    """Wait for any of some tasks, given as rows back from the last."""

    back: tuple[int, ...]


@dataclass(frozen=True)
class Promote:
    """Promote a task, given as rows back from the last."""

    back: int
    priority: int


@dataclass(frozen=True)
class Drop:
    """Drop a task, given as rows back from the last."""

    back: int


Script = tuple[Submit | Await | Promote | Drop, ...]

_TASKS = st.tuples(
    st.integers(0, 3),
    st.sampled_from(DURATIONS_NS),
    st.integers(-1, 1),
    st.sampled_from((1, 1, 2, 3, 5)),
    st.lists(st.integers(0, 7), max_size=3).map(tuple),
)
_SUBMITS = st.lists(_TASKS, max_size=6).map(lambda tasks: Submit(tuple(tasks)))
_BACK = st.integers(0, 12)
_ACTIONS = st.one_of(
    _SUBMITS,
    st.lists(_BACK, min_size=1, max_size=3).map(lambda back: Await(tuple(back))),
    st.lists(_BACK, min_size=1, max_size=1).map(lambda back: Await(tuple(back))),
    st.builds(Promote, _BACK, st.integers(-2, 2)),
    st.builds(Drop, _BACK),
)

contenders = st.sampled_from(sorted(ENGINES)).map(engine)
scripts = st.lists(_ACTIONS, max_size=14).map(tuple)
programs = st.lists(_TASKS, max_size=24).map(tuple)


@st.composite
def platforms(draw: st.DrawFn, interferes: bool | None = None) -> Platform:
    """Up to four resources of either discipline, with interference, without, or either."""
    disciplines = draw(st.lists(st.sampled_from(Discipline), min_size=1, max_size=4))
    resources = tuple(
        Resource(name=f"r{index}", discipline=discipline)
        for index, discipline in enumerate(disciplines)
    )
    if not (draw(st.booleans()) if interferes is None else interferes):
        return Platform(resources=resources)
    size = len(resources)
    factors = draw(st.lists(st.sampled_from(FACTORS), min_size=size * size, max_size=size * size))
    return Platform(
        resources=resources, rate_factors=np.array(factors, np.int64).reshape(size, size)
    )


def tasks_of(rows: Submit, num_resources: int, first: int) -> list[Task]:
    """The tasks of a submission whose first gets number ``first``."""
    return [
        Task(
            resource=resource % num_resources,
            duration_ns=duration_ns,
            priority=priority,
            num_chunks=num_chunks,
            after=tuple(sorted({number - 1 - back for back in after if back < number})),
        )
        for number, (resource, duration_ns, priority, num_chunks, after) in enumerate(
            rows.tasks, start=first
        )
    ]


def process_of(script: Script, num_resources: int, log: list[object]) -> Process:
    """The process that follows the script and writes down all it is told; actions on tasks are left
    out while there are none.
    """

    def process(session: Session) -> Generator[Wait, None, None]:
        count = 0
        for action in script:
            if isinstance(action, Submit):
                first = session.submit(task_table(tasks_of(action, num_resources, count)))
                count += len(action.tasks)
                log.append((session.now_ns, first))
            elif count == 0:
                continue
            elif isinstance(action, Await):
                yield tuple(count - 1 - back % count for back in action.back)
            elif isinstance(action, Promote):
                log.append(
                    (
                        session.now_ns,
                        session.promote(count - 1 - action.back % count, action.priority),
                    )
                )
            else:
                log.append((session.now_ns, session.drop(count - 1 - action.back % count)))
            log.append(
                [
                    session.is_done(number) + 2 * session.is_started(number)
                    for number in range(count)
                ]
            )
            log.append(
                [
                    session.started_ns(number)
                    for number in range(count)
                    if session.is_started(number)
                ]
            )

    return process


def busy_process(seed: int, num_resources: int) -> Process:
    """Submits forty tasks at a time faster than they run, and promotes and drops many of those that
    wait in full queues.
    """

    def process(session: Session) -> Generator[Wait, None, None]:
        rng = np.random.default_rng(seed)
        count = 0
        for _ in range(12):
            tasks = [
                Task(
                    resource=int(rng.integers(num_resources)),
                    duration_ns=int(rng.integers(1, 30)),
                    priority=int(rng.integers(20)),
                    num_chunks=int(rng.choice([1, 1, 2, 5])),
                    after=(number - int(rng.integers(1, 20)),)
                    if number > 20 and rng.random() < 0.3
                    else (),
                )
                for number in range(count, count + 40)
            ]
            session.submit(task_table(tasks))
            count += 40
            for number in rng.integers(0, count, 12).tolist():
                session.promote(number, int(rng.integers(-5, 20)))
            for number in rng.integers(0, count, 6).tolist():
                session.drop(number)
            yield tuple(rng.integers(count - 40, count, 3).tolist())

    return process
