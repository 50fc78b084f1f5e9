"""What a running process sees and causes: waits, instants, promotions and drops."""

from collections.abc import Generator

import pytest

from sim.engine import Engine
from sim.engine.program import Session, Wait
from sim.engine.task import Task, task_table
from tests.sim.engine.builders import platform, spans


def test_a_process_goes_on_when_any_task_it_waits_for_is_done(contender: Engine) -> None:
    """Of two tasks the shorter ends the wait; what it submits then starts then."""
    seen = []

    def process(session: Session) -> Generator[Wait, None, None]:
        first = session.submit(
            task_table([Task(resource=0, duration_ns=10), Task(resource=1, duration_ns=4)])
        )
        yield (first, first + 1)
        seen.append((session.now_ns, session.is_done(0), session.is_started(0), session.is_done(1)))
        assert session.submit(task_table([Task(resource=1, duration_ns=1)])) == 2

    assert spans(contender.run_process(platform("ii"), process)) == [(0, 10), (0, 4), (4, 5)]
    assert seen == [(4, False, True, True)]


def test_a_satisfied_wait_goes_on_at_once(contender: Engine) -> None:
    """A wait for something done takes no time, and no round: the two submissions start together, by
    priority.
    """

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(task_table([Task(resource=0, duration_ns=3)]))
        yield (0,)
        session.submit(task_table([Task(resource=0, duration_ns=5)]))
        yield (0,)
        session.submit(task_table([Task(resource=0, duration_ns=2, priority=-1)]))

    assert spans(contender.run_process(platform("p"), process)) == [(0, 3), (5, 10), (3, 5)]


def test_all_completions_of_an_instant_come_before_the_process(contender: Engine) -> None:
    """Both tasks end at 6; the process that waits for the first sees both done, and nothing started
    after them.
    """
    seen = []

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(
            task_table(
                [
                    Task(resource=0, duration_ns=6),
                    Task(resource=1, duration_ns=6),
                    Task(resource=1, duration_ns=1, after=(0,)),
                ]
            )
        )
        yield (0,)
        seen.append((session.is_done(1), session.is_started(2)))

    contender.run_process(platform("ip"), process)
    assert seen == [(True, False)]


def test_what_a_process_submits_competes_with_what_became_ready(contender: Engine) -> None:
    """At 6 the urgent task goes before one that was ready all along."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(
            task_table([Task(resource=0, duration_ns=6), Task(resource=0, duration_ns=6)])
        )
        yield (0,)
        session.submit(task_table([Task(resource=0, duration_ns=1, priority=-1)]))

    assert spans(contender.run_process(platform("p"), process)) == [(0, 6), (7, 13), (6, 7)]


def test_a_submission_at_a_border_goes_before_the_rest(contender: Engine) -> None:
    """The process acts at 4, a border of task 0, before anything starts."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(
            task_table(
                [Task(resource=0, duration_ns=12, num_chunks=3), Task(resource=1, duration_ns=4)]
            )
        )
        yield (1,)
        session.submit(task_table([Task(resource=0, duration_ns=2)]))

    assert spans(contender.run_process(platform("pi"), process)) == [(0, 14), (0, 4), (4, 6)]


def test_promotion_changes_the_order_of_what_waits(contender: Engine) -> None:
    """Promoted past the others while ready; in vain once started or done."""
    answers = []

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(task_table([Task(resource=0, duration_ns=5)] * 4))
        yield (0,)
        answers.extend([session.promote(3, -1), session.promote(0, -2)])
        yield (3,)
        answers.append(session.promote(3, 0))

    assert spans(contender.run_process(platform("p"), process)) == [
        (0, 5),
        (10, 15),
        (15, 20),
        (5, 10),
    ]
    assert answers == [True, False, False]


def test_promotion_holds_for_a_task_that_is_not_ready_yet(contender: Engine) -> None:
    """Task 3 is promoted while it waits for task 1, and overtakes task 2 when that has ended."""

    def process(session: Session) -> Generator[Wait, None, None]:
        tasks = [
            Task(resource=0, duration_ns=10),
            Task(resource=1, duration_ns=7),
            Task(resource=0, duration_ns=5),
            Task(resource=0, duration_ns=5, after=(1,)),
        ]
        session.submit(task_table(tasks))
        session.promote(3, -1)
        yield from ()

    assert spans(contender.run_process(platform("pi"), process)) == [
        (0, 10),
        (0, 7),
        (15, 20),
        (10, 15),
    ]


def test_a_promoted_task_stops_a_chunked_one_at_its_next_border(contender: Engine) -> None:
    """Task 1 waits behind task 0, promoted at 5 it starts at the border at 8."""

    def process(session: Session) -> Generator[Wait, None, None]:
        tasks = [
            Task(resource=0, duration_ns=12, num_chunks=3),
            Task(resource=0, duration_ns=2, priority=1),
            Task(resource=1, duration_ns=5),
        ]
        session.submit(task_table(tasks))
        yield (2,)
        assert session.promote(1, 0)

    assert spans(contender.run_process(platform("pi"), process)) == [(0, 14), (8, 10), (0, 5)]


def test_a_dropped_task_ends_at_once_and_frees_what_waits_for_it(contender: Engine) -> None:
    """Dropped at 4 while waiting for task 0: start and end are 4, its dependent runs from then."""
    answers = []

    def process(session: Session) -> Generator[Wait, None, None]:
        tasks = [
            Task(resource=0, duration_ns=9),
            Task(resource=1, duration_ns=4),
            Task(resource=1, duration_ns=8, after=(0,)),
        ]
        session.submit(task_table([*tasks, Task(resource=1, duration_ns=1, after=(2,))]))
        yield (1,)
        answers.extend(
            [
                session.drop(2),
                session.drop(2),
                session.drop(0),
                session.is_done(2),
                session.is_started(2),
                session.promote(2, 1),
            ]
        )

    timeline = contender.run_process(platform("ii"), process)
    assert spans(timeline) == [(0, 9), (0, 4), (4, 4), (4, 5)]
    assert timeline.busy_ns.tolist() == [9, 4, 0, 1]
    assert timeline.is_dropped.tolist() == [False, False, True, False]
    assert answers == [True, False, False, True, False, False]


@pytest.mark.parametrize("discipline", ["i", "p"])
def test_a_dropped_ready_task_gives_way(contender: Engine, discipline: str) -> None:
    """Tasks 1 and 3 are taken out of the queue, at its head and in it."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(task_table([Task(resource=0, duration_ns=5)] * 5))
        yield (0,)
        session.drop(3)
        session.drop(1)

    assert spans(contender.run_process(platform(discipline), process)) == [
        (0, 5),
        (5, 5),
        (5, 10),
        (5, 5),
        (10, 15),
    ]


def test_a_wait_for_a_dropped_task_is_satisfied(contender: Engine) -> None:
    """Dropping what it waits for lets a process go on in the same instant."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(
            task_table([Task(resource=0, duration_ns=5), Task(resource=0, duration_ns=5)])
        )
        session.drop(1)
        yield (1,)
        assert session.now_ns == 0

    assert spans(contender.run_process(platform("i"), process)) == [(0, 5), (0, 0)]


def test_a_task_can_be_dropped_before_it_takes_effect(contender: Engine) -> None:
    """Submission and drop at one instant: it never runs."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(task_table([Task(resource=0, duration_ns=5)]))
        assert session.drop(0)
        yield from ()

    assert spans(contender.run_process(platform("p"), process)) == [(0, 0)]


def test_a_task_at_a_chunk_border_has_started(contender: Engine) -> None:
    """It can be neither promoted nor dropped while its rest waits."""
    answers = []

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(
            task_table(
                [
                    Task(resource=0, duration_ns=8, num_chunks=2),
                    Task(resource=0, duration_ns=3),
                    Task(resource=1, duration_ns=5),
                ]
            )
        )
        yield (2,)
        answers.extend([session.is_started(0), session.promote(0, -1), session.drop(0)])

    assert spans(contender.run_process(platform("pi"), process)) == [(0, 11), (4, 7), (0, 5)]
    assert answers == [True, False, False]


def test_a_process_may_submit_in_pieces_of_any_size(contender: Engine) -> None:
    """A chain of 3000 tasks over 150 submissions, one of them empty; dependencies reach across."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(task_table([]))
        for batch in range(150):
            first = 20 * batch
            assert (
                session.submit(
                    task_table(
                        [
                            Task(resource=n % 2, duration_ns=2, after=(n - 1,) if n else ())
                            for n in range(first, first + 20)
                        ]
                    )
                )
                == first
            )
            yield (max(0, first - 30),)

    timeline = contender.run_process(platform("ip"), process)
    assert spans(timeline) == [(2 * number, 2 * number + 2) for number in range(3000)]
    assert len(timeline.tasks) == 3000


def test_an_error_in_a_process_reaches_the_caller(contender: Engine) -> None:
    """The engine swallows nothing."""

    def process(session: Session) -> Generator[Wait, None, None]:
        session.submit(task_table([Task(resource=0, duration_ns=5)]))
        yield (0,)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        contender.run_process(platform("i"), process)
