"""Each rule of docs/explanation/time.md on a program small enough to work out by hand."""

from sim.engine import Engine
from sim.engine.task import Task
from tests.sim.engine.builders import run, spans


def test_nothing_takes_no_time(contender: Engine) -> None:
    """An empty program has an empty timeline."""
    timeline = run(contender, "ip")
    assert spans(timeline) == [] and timeline.makespan_ns == 0


def test_in_order_head_blocks_what_is_behind_it(contender: Engine) -> None:
    """Task 2 is ready at 0 but starts after task 1, which waits for task 0."""
    timeline = run(
        contender,
        "ii",
        Task(resource=1, duration_ns=7),
        Task(resource=0, duration_ns=2, after=(0,)),
        Task(resource=0, duration_ns=3),
    )
    assert spans(timeline) == [(0, 7), (7, 9), (9, 12)]


def test_in_order_ignores_priorities_and_chunks(contender: Engine) -> None:
    """A stream knows only the order of submission."""
    timeline = run(
        contender,
        "i",
        Task(resource=0, duration_ns=6, num_chunks=3, priority=5),
        Task(resource=0, duration_ns=1, priority=-5),
    )
    assert spans(timeline) == [(0, 6), (6, 7)]
    assert timeline.busy_ns.tolist() == [6, 1]


def test_priority_picks_the_lowest_number_then_the_first_submitted(contender: Engine) -> None:
    """All are ready at 0; equal priorities go by sequence."""
    priorities = (2, 1, 2, 0, 1)
    timeline = run(
        contender,
        "p",
        *(Task(resource=0, duration_ns=10, priority=priority) for priority in priorities),
    )
    assert timeline.start_ns.tolist() == [30, 10, 40, 0, 20]


def test_priority_passes_over_tasks_that_are_not_ready(contender: Engine) -> None:
    """Task 1 is more urgent but waits for task 0."""
    timeline = run(
        contender,
        "pi",
        Task(resource=1, duration_ns=5),
        Task(resource=0, duration_ns=2, priority=-1, after=(0,)),
        Task(resource=0, duration_ns=4),
        Task(resource=0, duration_ns=4),
    )
    assert spans(timeline) == [(0, 5), (8, 10), (0, 4), (4, 8)]


def test_a_running_task_is_not_preempted(contender: Engine) -> None:
    """An urgent task that becomes ready meanwhile waits for the end."""
    timeline = run(
        contender,
        "pi",
        Task(resource=0, duration_ns=9),
        Task(resource=1, duration_ns=2),
        Task(resource=0, duration_ns=1, priority=-9, after=(1,)),
    )
    assert spans(timeline) == [(0, 9), (0, 2), (9, 10)]


def test_a_chunked_task_yields_to_its_own_priority(contender: Engine) -> None:
    """The rest goes behind a task of equal priority that was ready before; waiting is not busy
    time.
    """
    timeline = run(
        contender,
        "p",
        Task(resource=0, duration_ns=12, num_chunks=3),
        Task(resource=0, duration_ns=5),
    )
    assert spans(timeline) == [(0, 17), (4, 9)]
    assert timeline.busy_ns.tolist() == [12, 5]


def test_a_chunked_task_goes_on_before_less_urgent_ones(contender: Engine) -> None:
    """Nothing goes before the rest, so it goes on at once."""
    timeline = run(
        contender,
        "p",
        Task(resource=0, duration_ns=12, num_chunks=3),
        Task(resource=0, duration_ns=5, priority=1),
    )
    assert spans(timeline) == [(0, 12), (12, 17)]


def test_ready_at_the_instant_of_the_border_goes_first(contender: Engine) -> None:
    """Task 2 becomes ready at 4, when task 0 is at its first border."""
    timeline = run(
        contender,
        "pi",
        Task(resource=0, duration_ns=12, num_chunks=3),
        Task(resource=1, duration_ns=4),
        Task(resource=0, duration_ns=5, after=(1,)),
    )
    assert spans(timeline) == [(0, 17), (0, 4), (4, 9)]


def test_ready_between_borders_waits_for_the_next(contender: Engine) -> None:
    """Task 2 becomes ready at 5; the borders are at 4, 8 and 12."""
    timeline = run(
        contender,
        "pi",
        Task(resource=0, duration_ns=16, num_chunks=4),
        Task(resource=1, duration_ns=5),
        Task(resource=0, duration_ns=5, after=(1,)),
    )
    assert spans(timeline) == [(0, 21), (0, 5), (8, 13)]


def test_ready_in_a_later_round_of_the_border_instant_is_too_late(contender: Engine) -> None:
    """Task 2 takes no time but a round: task 0 has gone on when task 3 becomes ready, all at 4."""
    timeline = run(
        contender,
        "pii",
        Task(resource=0, duration_ns=12, num_chunks=3),
        Task(resource=1, duration_ns=4),
        Task(resource=2, duration_ns=0, after=(1,)),
        Task(resource=0, duration_ns=5, priority=-1, after=(2,)),
    )
    assert spans(timeline) == [(0, 17), (0, 4), (4, 4), (8, 13)]


def test_chunked_tasks_take_turns(contender: Engine) -> None:
    """Requeue numbers rise over the run, so equals alternate."""
    timeline = run(contender, "p", *[Task(resource=0, duration_ns=6, num_chunks=3)] * 2)
    assert spans(timeline) == [(0, 10), (2, 12)]
    assert timeline.busy_ns.tolist() == [6, 6]


def test_a_rest_stays_behind_a_task_that_becomes_ready_later(contender: Engine) -> None:
    """The rest of task 0 waits from 2 on; task 3 is ready at 5 only, but fresh, and goes first at
    7.
    """
    timeline = run(
        contender,
        "pi",
        Task(resource=0, duration_ns=4, num_chunks=2),
        Task(resource=0, duration_ns=5),
        Task(resource=1, duration_ns=5),
        Task(resource=0, duration_ns=1, after=(2,)),
    )
    assert spans(timeline) == [(0, 10), (2, 7), (0, 5), (7, 8)]


def test_chunk_borders_round_down(contender: Engine) -> None:
    """Borders of 10 ns in 3 chunks are after 3 and 6 ns of work; task 3 is ready at 5 and starts at
    the second.
    """
    timeline = run(
        contender,
        "pi",
        Task(resource=0, duration_ns=10, num_chunks=3),
        Task(resource=0, duration_ns=1),
        Task(resource=1, duration_ns=5),
        Task(resource=0, duration_ns=1, after=(2,)),
    )
    assert spans(timeline) == [(0, 12), (3, 4), (0, 5), (7, 8)]


def test_chunks_of_no_length_take_a_round_each(contender: Engine) -> None:
    """Both tasks have 2 ns in 4 chunks, borders at 0, 1, 1 and 2; they take turns, at one instant
    too.
    """
    timeline = run(contender, "p", *[Task(resource=0, duration_ns=2, num_chunks=4)] * 2)
    assert spans(timeline) == [(0, 3), (0, 4)]


def test_a_chain_of_no_length_ends_at_one_instant(contender: Engine) -> None:
    """Tasks of no duration complete in further rounds of the same instant, across resources."""
    tasks = [
        Task(resource=number % 2, duration_ns=0, after=(number - 1,) if number else ())
        for number in range(6)
    ]
    timeline = run(contender, "ip", *tasks)
    assert spans(timeline) == [(0, 0)] * 6


def test_starts_do_not_wait_for_further_rounds(contender: Engine) -> None:
    """Task 2 starts in the first round at 0; the urgent task 1 becomes ready in the second, too
    late.
    """
    timeline = run(
        contender,
        "pi",
        Task(resource=1, duration_ns=0),
        Task(resource=0, duration_ns=3, priority=-1, after=(0,)),
        Task(resource=0, duration_ns=4),
    )
    assert spans(timeline) == [(0, 0), (4, 7), (0, 4)]


def test_dependencies_may_repeat_and_be_done_already(contender: Engine) -> None:
    """A dependency named twice counts once."""
    timeline = run(
        contender,
        "ip",
        Task(resource=0, duration_ns=3),
        Task(resource=1, duration_ns=2, after=(0, 0)),
    )
    assert spans(timeline) == [(0, 3), (3, 5)]
