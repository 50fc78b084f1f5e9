"""Small studies for the tests of what-if, and executors that count or die."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from planner.search.plan import Setting
from planner.study import outcome
from planner.study.axes import parse_axes
from planner.study.outcome import Outcome, PointJob
from planner.study.store import open_store
from planner.study.study import Study
from planner.study.sweep import sweep

WAIT_S = 180
BASE = Setting(
    model="mixtral-8x7b", machine="desktop-rtx-4090-ddr5", prompt_tokens=6, output_tokens=2
)


def small_study(*vary: str, base: Setting = BASE) -> Study:
    """A study of few tokens for throughput."""
    return Study(base=base, axes=parse_axes(vary), objective="throughput", version="test")


def jobs_of(study: Study) -> list[PointJob]:
    """The jobs of its points, in order."""
    settings = [point.setting for point in study.points()]
    keys = study.keys()
    return list(outcome.jobs_of(study, settings, [keys.key(setting) for setting in settings]))


def swept(
    study: Study, path: Path, executor: Executor, num_at_once: int = 2
) -> tuple[int, list[Outcome]]:
    """Sweep into a file: how many points were computed, and all outcomes in the order of the study."""
    jobs = jobs_of(study)
    with open_store(path, study.keys().identity(study.base)) as store:
        num_computed = sweep(jobs, store, executor, at_once=lambda: num_at_once)
        return num_computed, list(store.outcomes(job.key for job in jobs))


class CountingExecutor(Executor):
    """Computes at once, in this process, and remembers the keys it was asked for; raises
    ``failure`` in place of call ``fails_at``.
    """

    def __init__(
        self, fails_at: int | None = None, failure: type[BaseException] = RuntimeError
    ) -> None:
        """Nothing asked yet."""
        self.asked: list[str] = []
        self._fails_at, self._failure = fails_at, failure

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The result, already there."""
        if len(self.asked) == self._fails_at:
            raise self._failure("asked to fail")
        self.asked.append(args[0].key)
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def points_kept(path: Path) -> Sequence[str]:
    """The keys in a study's file, read beside whoever writes it; none while it is not there yet."""
    import sqlite3

    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return [key for (key,) in database.execute("SELECT key FROM points")]
        finally:
            database.close()
    except sqlite3.OperationalError:
        return []


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail when it does not within WAIT_S."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def has_processes(session: int) -> bool:
    """Whether any process of that session is alive."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False
