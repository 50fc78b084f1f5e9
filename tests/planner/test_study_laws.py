"""Laws of studies: whatever the order in which points are computed and wherever a sweep stops, the
table is one and the same.
"""

from concurrent.futures import Executor, Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.search.inline import InlineExecutor
from planner.study.outcome import Outcome
from planner.study.store import open_store
from planner.study.sweep import sweep
from tests.planner.studies import jobs_of, points_kept, small_study, swept

STUDY = small_study("link.h2d.bytes_per_s=6e9,12e9,50e9", "gpu.memory_bytes=1GB,16GB")
JOBS = jobs_of(STUDY)
IDENTITY = STUDY.keys().identity(STUDY.base)


class _Known(Executor):
    """Answers from a table, and stops before a number of answers."""

    def __init__(self, table: dict[str, Outcome], stops_at: int) -> None:
        self._table = table
        self._left = stops_at

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The outcome, already there."""
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        future: Future[Any] = Future()
        future.set_result(self._table[args[0].key])
        return future


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The outcomes of the study by key, computed once."""
    path = tmp_path_factory.mktemp("whole") / "study.sqlite"
    _, outcomes = swept(STUDY, path, InlineExecutor())
    return {job.key: outcome for job, outcome in zip(JOBS, outcomes, strict=True)}


@given(st.lists(st.integers(0, 6), max_size=4), st.permutations(JOBS), st.integers(1, 3))
@settings(max_examples=25)
def test_a_sweep_may_stop_anywhere(
    table: dict[str, Outcome],
    tmp_path_factory: pytest.TempPathFactory,
    stops: list[int],
    order: list[Any],
    num_at_once: int,
) -> None:
    """However often it is interrupted and in whatever order points come: no finished point is lost
    or computed again, and the table is that of one sweep.
    """
    path = tmp_path_factory.mktemp("stopped") / "study.sqlite"
    num_computed = 0
    for stops_at in [*stops, len(JOBS)]:
        kept = len(points_kept(path))
        with open_store(path, IDENTITY) as store:
            try:
                num_computed += sweep(
                    order, store, _Known(table, stops_at), at_once=lambda: num_at_once
                )
            except KeyboardInterrupt:
                num_computed += len(store.kept_keys()) - kept
    assert num_computed == len(JOBS)
    with open_store(path, IDENTITY) as store:
        found = list(store.outcomes(job.key for job in JOBS))
    assert found == [table[job.key] for job in JOBS]


VALUES = ("6e9", "12e9", "50e9", "20e9")


@given(st.permutations(VALUES), st.permutations(("1", "2", "4")))
@settings(max_examples=10)
def test_points_are_named_by_what_they_ask(rates: list[str], batches: list[str]) -> None:
    """The order of values and of axes changes no point's key; other settings have others."""
    one = small_study(f"link.h2d.bytes_per_s={','.join(rates)}", f"batch={','.join(batches)}")
    two = small_study("batch=1,2,4", f"link.h2d.bytes_per_s={','.join(VALUES)}")
    keys = {job.key for job in jobs_of(one)}
    assert keys == {job.key for job in jobs_of(two)}
    assert len(keys) == len(VALUES) * 3
    assert one.num_points == two.num_points
