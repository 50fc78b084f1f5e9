"""How many threads a plan is made with."""

from concurrent.futures import Future

import pytest

from planner.search.threads import num_threads
from planner.study.workers import process_pool


@pytest.mark.parametrize(("said", "threads"), [(None, 2), ("1", 1), ("1,4", 1), ("8", 2), ("", 2)])
def test_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, said: str | None, threads: int
) -> None:
    """Two, but where OpenMP is told to take one."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert num_threads() == threads


def test_a_study_s_workers_have_one_each() -> None:
    """They are as many as there are cores to use."""
    with process_pool(1) as pool:
        asked: Future[int] = pool.submit(_planned_with)
        assert asked.result() == 1


def _planned_with() -> int:
    from planner.search import trials

    return trials.NUM_THREADS
