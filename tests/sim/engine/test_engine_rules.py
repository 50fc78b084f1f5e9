"""Each rule of docs/explanation/time.md: in closed form where there is one, else on a program small
enough to work out by hand.
"""

from hypothesis import given
from hypothesis import strategies as st

from sim.engine import Engine
from sim.engine.task import Task
from tests.sim.engine.builders import platform, run, spans
from tests.sim.engine.strategies import Submit, contenders, programs, tasks_of


@given(contenders, st.integers(1, 4), programs)
def test_a_stream_is_the_recurrence(contender: Engine, num_streams: int, rows: tuple) -> None:
    """In order: a task starts when what it waits for and the task before it on its resource have
    ended, whatever its priority and chunks; a dependency named twice counts once.
    """
    tasks = tasks_of(Submit(rows), num_streams, 0)
    timeline = run(contender, "i" * num_streams, *tasks)
    free_ns = [0] * num_streams
    ends_ns: list[int] = []
    for task, span in zip(tasks, spans(timeline), strict=True):
        start_ns = max([free_ns[task.resource], *(ends_ns[number] for number in task.after)])
        free_ns[task.resource] = start_ns + task.duration_ns
        ends_ns.append(free_ns[task.resource])
        assert span == (start_ns, ends_ns[-1])
    assert timeline.busy_ns.tolist() == [task.duration_ns for task in tasks]
    assert timeline.makespan_ns == max(ends_ns, default=0)


@given(contenders, st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 50)), max_size=8))
def test_priority_picks_the_lowest_number_then_the_first_submitted(
    contender: Engine, rows: list[tuple[int, int]]
) -> None:
    """All are ready at 0; equal priorities go by sequence."""
    tasks = [
        Task(resource=0, duration_ns=duration_ns, priority=priority)
        for priority, duration_ns in rows
    ]
    found = spans(run(contender, "p", *tasks))
    now_ns = 0
    for number in sorted(range(len(rows)), key=lambda number: rows[number][0]):
        assert found[number] == (now_ns, now_ns + rows[number][1])
        now_ns += rows[number][1]


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


@given(contenders, st.integers(2, 6), st.integers(1, 50), st.integers(0, 50), st.booleans())
def test_a_chunked_task_yields_to_its_own_priority_alone(
    contender: Engine, num_chunks: int, chunk_ns: int, other_ns: int, is_less_urgent: bool
) -> None:
    """The rest goes behind a task of equal priority that was ready before, and goes on before a less
    urgent one; waiting is not busy time.
    """
    whole_ns = num_chunks * chunk_ns
    timeline = run(
        contender,
        "p",
        Task(resource=0, duration_ns=whole_ns, num_chunks=num_chunks),
        Task(resource=0, duration_ns=other_ns, priority=int(is_less_urgent)),
    )
    expected = (
        [(0, whole_ns), (whole_ns, whole_ns + other_ns)]
        if is_less_urgent
        else [(0, whole_ns + other_ns), (chunk_ns, chunk_ns + other_ns)]
    )
    assert spans(timeline) == expected
    assert timeline.busy_ns.tolist() == [whole_ns, other_ns]


@given(
    contenders,
    st.integers(1, 6),
    st.integers(6, 60),
    st.integers(0, 70),
    st.integers(0, 20),
    st.integers(-9, 0),
)
def test_what_becomes_ready_waits_for_the_next_border(
    contender: Engine, num_chunks: int, whole_ns: int, ready_ns: int, other_ns: int, priority: int
) -> None:
    """Borders of d ns in n chunks are after d · i / n, rounded down. A task of the same priority or a
    more urgent one goes first at the border of the instant at which it becomes ready, or at the next;
    what runs is not preempted, nor does it wait for further rounds of the instant at which it starts.
    """
    timeline = run(
        contender,
        "pi",
        Task(resource=0, duration_ns=whole_ns, num_chunks=num_chunks),
        Task(resource=1, duration_ns=ready_ns),
        Task(resource=0, duration_ns=other_ns, priority=priority, after=(1,)),
    )
    borders_ns = [whole_ns * index // num_chunks for index in range(1, num_chunks + 1)]
    start_ns = next((border for border in borders_ns if border >= ready_ns), ready_ns)
    end_ns = whole_ns + (other_ns if start_ns < whole_ns else 0)
    assert spans(timeline) == [(0, end_ns), (0, ready_ns), (start_ns, start_ns + other_ns)]


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


@given(contenders, st.integers(1, 5), st.integers(1, 5), st.integers(1, 50))
def test_chunked_tasks_take_turns(
    contender: Engine, num_tasks: int, num_chunks: int, chunk_ns: int
) -> None:
    """Requeue numbers rise over the run, so equals alternate."""
    task = Task(resource=0, duration_ns=num_chunks * chunk_ns, num_chunks=num_chunks)
    timeline = run(contender, "p", *[task] * num_tasks)
    last_round_ns = (num_chunks - 1) * num_tasks * chunk_ns
    assert spans(timeline) == [
        (turn * chunk_ns, last_round_ns + (turn + 1) * chunk_ns) for turn in range(num_tasks)
    ]
    assert timeline.busy_ns.tolist() == [num_chunks * chunk_ns] * num_tasks


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


def test_chunks_of_no_length_take_a_round_each(contender: Engine) -> None:
    """Both tasks have 2 ns in 4 chunks, borders at 0, 1, 1 and 2; they take turns, at one instant
    too.
    """
    timeline = run(contender, "p", *[Task(resource=0, duration_ns=2, num_chunks=4)] * 2)
    assert spans(timeline) == [(0, 3), (0, 4)]


@given(contenders, st.text("ip", min_size=1, max_size=4), st.data())
def test_a_chain_ends_at_the_sum_of_its_lengths(
    contender: Engine, disciplines: str, data: st.DataObject
) -> None:
    """Each task waits for the one before, across resources; those of no duration complete in further
    rounds of the same instant.
    """
    where = platform(disciplines)
    rows = st.tuples(st.integers(0, len(disciplines) - 1), st.sampled_from([0, 0, 1, 7]))
    chain = data.draw(st.lists(rows, max_size=12))
    tasks = [
        Task(resource=resource, duration_ns=duration_ns, after=(number - 1,) if number else ())
        for number, (resource, duration_ns) in enumerate(chain)
    ]
    now_ns = 0
    expected = []
    for _, duration_ns in chain:
        expected.append((now_ns, now_ns + duration_ns))
        now_ns += duration_ns
    assert spans(run(contender, where, *tasks)) == expected
