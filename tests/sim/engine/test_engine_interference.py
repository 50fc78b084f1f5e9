"""Interference against closed forms."""

from itertools import accumulate, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engine import Engine, engine
from sim.engine.program import FULL_RATE, Platform, Program
from sim.engine.task import Task, task_table
from tests.sim.engine.builders import platform, run, spans
from tests.sim.engine.strategies import Submit, contenders, platforms, programs, tasks_of

HALF, THIRD = FULL_RATE // 2, FULL_RATE // 3
RATES = st.sampled_from([1, 2, THIRD, HALF, FULL_RATE - 1, FULL_RATE]) | st.integers(1, FULL_RATE)


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


@given(contenders, st.integers(1, 5), st.integers(0, 10**6), st.integers(0, 4))
def test_equal_tasks_progress_at_the_product_of_the_factors(
    contender: Engine, num_tasks: int, duration_ns: int, halvings: int
) -> None:
    """With k tasks and factors of 2^-h each runs at 2^-h(k - 1), and is busy all the time."""
    factors = [[FULL_RATE >> halvings] * num_tasks] * num_tasks
    timeline = run(
        contender,
        platform("i" * num_tasks, factors),
        *(Task(resource=index, duration_ns=duration_ns) for index in range(num_tasks)),
    )
    lasts_ns = duration_ns * 2 ** (halvings * (num_tasks - 1))
    assert spans(timeline) == [(0, lasts_ns)] * num_tasks
    assert timeline.busy_ns.tolist() == [lasts_ns] * num_tasks


@given(
    contenders,
    st.integers(0, 10**4),
    RATES,
    st.integers(0, 500),
    st.lists(st.integers(0, 500), max_size=4),
)
def test_a_task_is_slowed_while_another_resource_is_busy(
    contender: Engine, work_ns: int, rate: int, alone_ns: int, pieces_ns: list[int]
) -> None:
    """First alone, then beside tasks one behind the other, which are not slowed themselves and of
    which those of no length disturb nobody, then alone: ends round up to the next ns.
    """
    full = FULL_RATE
    tasks = [Task(resource=0, duration_ns=work_ns), Task(resource=2, duration_ns=alone_ns)]
    tasks += [Task(resource=1, duration_ns=piece_ns, after=(1,)) for piece_ns in pieces_ns]
    timeline = run(contender, platform("iii", [[1, rate, full], [full] * 3, [full] * 3]), *tasks)
    left = work_ns * full
    end_ns = 0
    for phase_ns, units_a_ns in ((alone_ns, full), (sum(pieces_ns), rate)):
        if left > phase_ns * units_a_ns:
            left -= phase_ns * units_a_ns
            end_ns += phase_ns
        else:
            end_ns += -(-left // units_a_ns)
            left = 0
    end_ns += -(-left // full)
    borders = list(accumulate(pieces_ns, initial=alone_ns))
    others = list(pairwise(borders))
    assert spans(timeline) == [(0, end_ns), (0, alone_ns), *others]


@given(contenders, st.integers(1, 5), st.integers(1, 200), RATES)
def test_each_chunk_rounds_up(contender: Engine, num_chunks: int, chunk_ns: int, rate: int) -> None:
    """Two chunks of 50 ns at a third take 151 ns each, where 100 ns take 301."""
    end_ns = num_chunks * -(-chunk_ns * FULL_RATE // rate)
    timeline = run(
        contender,
        platform("pi", [[1, rate], [FULL_RATE, 1]]),
        Task(resource=0, duration_ns=num_chunks * chunk_ns, num_chunks=num_chunks),
        Task(resource=1, duration_ns=end_ns + 1),
    )
    assert spans(timeline) == [(0, end_ns), (0, end_ns + 1)]


def test_rates_do_not_fall_below_one(contender: Engine) -> None:
    """Two factors of 2^-20 give a rate of 1, not 0."""
    factors = [[1, 1, 1], [FULL_RATE] * 3, [FULL_RATE] * 3]
    tasks = [Task(resource=0, duration_ns=1)] + [
        Task(resource=index, duration_ns=2**21) for index in (1, 2)
    ]
    assert spans(run(contender, platform("iii", factors), *tasks))[0] == (0, 2**20)


@settings(max_examples=100)
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
