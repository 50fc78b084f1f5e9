"""A study's memory does not grow with its points."""

import tracemalloc
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from planner.study.outcome import Outcome, PointJob
from planner.study.store import open_store
from planner.study.sweep import sweep
from tests.planner.studies import BASE

NUM_POINTS = 10_000
BYTES_PER_POINT = 400
"""A key of 64 letters in a set; an outcome takes ten times as much."""
OUTCOME = Outcome(
    is_feasible=True,
    policy="fiddler",
    metrics={f"figure {number}": float(number) for number in range(20)},
    rivals={f"rival {number}": {"end_to_end_s": 1.0} for number in range(20)},
)


class _Known(Executor):
    """Answers every point at once with the same outcome."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done."""
        future: Future[Any] = Future()
        future.set_result(OUTCOME)
        return future


def _jobs(number: int) -> Any:
    for index in range(number):
        setting = BASE.model_copy(update={"seed": index})
        yield PointJob(setting=setting, objective="throughput", version="test", key=f"{index:064}")


def test_finished_points_are_not_kept_in_memory(tmp_path: Path) -> None:
    """10,000 points: what stays is their keys; settings and outcomes go to the file."""
    with open_store(tmp_path / "study.sqlite", {"version": "test"}) as store:
        sweep(_jobs(10), store, _Known())
        tracemalloc.start()
        try:
            assert sweep(_jobs(NUM_POINTS), store, _Known()) == NUM_POINTS - 10
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(store.kept_keys()) == NUM_POINTS
    assert peak < NUM_POINTS * BYTES_PER_POINT
