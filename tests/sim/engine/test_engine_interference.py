"""Interference against closed forms."""

import pytest
from hypothesis import given, settings

from sim.engine import Engine, engine
from sim.engine.program import FULL_RATE, Platform, Program
from sim.engine.task import Task, task_table
from tests.sim.engine.builders import platform, run, spans
from tests.sim.engine.strategies import Submit, platforms, programs, tasks_of

HALF, THIRD = FULL_RATE // 2, FULL_RATE // 3


def test_two_tasks_at_half_rate_take_twice_as_long(contender: Engine) -> None:
    """Both progress at 1/2 all the time."""
    timeline = run(
        contender,
        platform("ii", [[1, HALF], [HALF, 1]]),
        Task(resource=0, duration_ns=100),
        Task(resource=1, duration_ns=100),
    )
    assert spans(timeline) == [(0, 200), (0, 200)]
    assert timeline.busy_ns.tolist() == [200, 200]


def test_staggered_starts_share_only_while_both_run(contender: Engine) -> None:
    """Task 2 starts at 40: task 0 has 60 left, ends at 160; task 2 has then done 60 and ends its 40
    alone, at 200.
    """
    factors = [[1, HALF, FULL_RATE], [HALF, 1, FULL_RATE], [FULL_RATE, FULL_RATE, 1]]
    timeline = run(
        contender,
        platform("iii", factors),
        Task(resource=0, duration_ns=100),
        Task(resource=2, duration_ns=40),
        Task(resource=1, duration_ns=100, after=(1,)),
    )
    assert spans(timeline) == [(0, 160), (0, 40), (40, 200)]


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 5])
def test_equal_tasks_progress_at_the_product_of_the_factors(
    contender: Engine, num_tasks: int
) -> None:
    """With k tasks and factors of 1/2 each runs at 2^-(k - 1)."""
    factors = [[HALF] * num_tasks] * num_tasks
    timeline = run(
        contender,
        platform("i" * num_tasks, factors),
        *(Task(resource=index, duration_ns=100) for index in range(num_tasks)),
    )
    assert spans(timeline) == [(0, 100 * 2 ** (num_tasks - 1))] * num_tasks


def test_factors_need_not_be_mutual(contender: Engine) -> None:
    """Resource 0 suffers from 1, not the other way round."""
    timeline = run(
        contender,
        platform("ii", [[1, HALF], [FULL_RATE, 1]]),
        Task(resource=0, duration_ns=100),
        Task(resource=1, duration_ns=50),
    )
    assert spans(timeline) == [(0, 125), (0, 50)]


def test_ends_round_up_to_the_next_ns(contender: Engine) -> None:
    """A rate of 349525 / 2^20 leaves 100 units after 300 ns of 100 ns of work."""
    timeline = run(
        contender,
        platform("ii", [[1, THIRD], [FULL_RATE, 1]]),
        Task(resource=0, duration_ns=100),
        Task(resource=1, duration_ns=1000),
    )
    assert spans(timeline) == [(0, 301), (0, 1000)]


def test_each_chunk_rounds_up(contender: Engine) -> None:
    """Two chunks of 50 ns take 151 ns each, where 100 ns take 301."""
    timeline = run(
        contender,
        platform("pi", [[1, THIRD], [FULL_RATE, 1]]),
        Task(resource=0, duration_ns=100, num_chunks=2),
        Task(resource=1, duration_ns=1000),
    )
    assert spans(timeline) == [(0, 302), (0, 1000)]


def test_rates_do_not_fall_below_one(contender: Engine) -> None:
    """Two factors of 2^-20 give a rate of 1, not 0."""
    factors = [[1, 1, 1], [FULL_RATE] * 3, [FULL_RATE] * 3]
    tasks = [Task(resource=0, duration_ns=1)] + [
        Task(resource=index, duration_ns=2**21) for index in (1, 2)
    ]
    assert spans(run(contender, platform("iii", factors), *tasks))[0] == (0, 2**20)


def test_tasks_of_no_length_disturb_nobody(contender: Engine) -> None:
    """A task that starts and ends within an instant is never busy."""
    factors = [[1, 1, FULL_RATE], [1, 1, 1], [FULL_RATE, 1, 1]]
    timeline = run(
        contender,
        platform("iii", factors),
        Task(resource=0, duration_ns=100),
        Task(resource=2, duration_ns=50),
        Task(resource=1, duration_ns=0, after=(1,)),
    )
    assert spans(timeline) == [(0, 100), (0, 50), (50, 50)]


def test_the_successor_on_a_resource_disturbs_as_before(contender: Engine) -> None:
    """Resource 1 stays busy from one task to the next."""
    timeline = run(
        contender,
        platform("ii", [[1, HALF], [FULL_RATE, 1]]),
        Task(resource=0, duration_ns=100),
        *[Task(resource=1, duration_ns=60)] * 4,
    )
    assert spans(timeline)[0] == (0, 200)


@settings(max_examples=100, deadline=None)
@given(where=platforms(interferes=False), rows=programs)
def test_factors_of_one_are_no_interference(where: Platform, rows: tuple) -> None:
    """With all factors at full rate the reference gives what it gives without any."""
    tasks = task_table(tasks_of(Submit(rows), len(where.resources), 0))
    size = len(where.resources)
    undisturbed = platform(
        "".join(resource.name[0] for resource in where.resources), [[FULL_RATE] * size] * size
    )
    undisturbed = Platform(resources=where.resources, rate_factors=undisturbed.rate_factors)
    for name in ("fast", "reference"):
        digests = {
            engine(name).run_program(Program(platform=where_, tasks=tasks)).digest
            for where_ in (where, undisturbed)
        }
        assert len(digests) == 1
