"""Sweeps: every point kept once, the same table from any executor, and nothing lost to a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwprofiles import InputError
from planner.search.hunt import Hunt
from planner.search.inline import InlineExecutor
from planner.search.interruption import undisturbed
from planner.study.cluster import cluster_crew
from planner.study.outcome import Outcome, evaluate
from planner.study.store import open_store
from planner.study.study import Keys
from planner.study.sweep import sweep
from planner.study.workers import process_pool
from tests.planner.studies import (
    BASE,
    CountingExecutor,
    has_processes,
    jobs_of,
    points_kept,
    small_study,
    swept,
    wait_until,
)
from tests.source_tree import ROOT

STUDY = small_study("link.h2d.bytes_per_s=6e9,12e9,50e9", "gpu.memory_bytes=1GB,16GB")
IDENTITY = Keys(STUDY.objective, STUDY.version).identity(STUDY.base)
LONG_VARY = ("link.h2d.bytes_per_s=5e9:60e9:12",)

SWEEPER = """
import sys
from pathlib import Path
from planner.study.workers import process_pool
from tests.planner.studies import small_study, swept
if __name__ == "__main__":
    with process_pool(2) as executor:
        swept(small_study(*sys.argv[2:]), Path(sys.argv[1]), executor)
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """The outcomes of the study, computed without interruption in this process."""
    num_computed, outcomes = swept(
        STUDY, tmp_path_factory.mktemp("whole") / "study.sqlite", InlineExecutor()
    )
    assert num_computed == STUDY.num_points
    return outcomes


def test_points_differ_and_some_do_not_fit(table: list[Outcome]) -> None:
    """A faster link is never slower, and a misfit says by how many bytes."""
    speeds = [outcome.metrics["output_tokens_per_s"] for outcome in table[1::2]]
    assert speeds == sorted(speeds)
    assert speeds[0] < speeds[-1]
    assert all(outcome.rivals for outcome in table if outcome.is_feasible)
    tight = small_study("gpu.memory_bytes=1MB")
    misfit = evaluate(jobs_of(tight)[0])
    assert not misfit.is_feasible
    assert misfit.missing_bytes is not None
    assert misfit.missing_bytes > 0


@pytest.mark.parametrize("num_workers", [1, 2])
def test_processes_give_the_same_table(
    num_workers: int, table: list[Outcome], tmp_path: Path
) -> None:
    """One process or two: the same outcomes, bit by bit."""
    with process_pool(num_workers) as executor:
        assert swept(STUDY, tmp_path / "study.sqlite", executor) == (STUDY.num_points, table)


def test_threads_give_the_same_table(table: list[Outcome], tmp_path: Path) -> None:
    """Any executor of concurrent.futures will do."""
    with ThreadPoolExecutor(2) as executor:
        assert swept(STUDY, tmp_path / "study.sqlite", executor) == (STUDY.num_points, table)


def test_the_same_point_is_never_computed_twice(tmp_path: Path) -> None:
    """A second sweep computes nothing; a wider study computes what is new; a point named twice is
    computed once.
    """
    path = tmp_path / "study.sqlite"
    first, second, third = CountingExecutor(), CountingExecutor(), CountingExecutor()
    assert swept(small_study("batch=1,2"), path, first)[0] == 2
    assert swept(small_study("batch=2,1"), path, second)[0] == 0
    assert swept(small_study("batch=1,2,3"), path, third)[0] == 1
    assert (len(first.asked), len(second.asked), len(third.asked)) == (2, 0, 1)
    jobs = jobs_of(small_study("batch=1"))
    with open_store(tmp_path / "other.sqlite", IDENTITY) as store:
        assert sweep([*jobs, *jobs], store, CountingExecutor()) == 1


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_what_finished_before_a_failure_is_kept(
    failure: type[BaseException], table: list[Outcome], tmp_path: Path
) -> None:
    """Stopped at the fourth point by an error or Ctrl-C, three are kept; going on computes the
    others and gives the same table.
    """
    path = tmp_path / "study.sqlite"
    with pytest.raises(failure), open_store(path, IDENTITY) as store:
        sweep(jobs_of(STUDY), store, CountingExecutor(fails_at=3, failure=failure))
    assert len(points_kept(path)) == 3
    rest = CountingExecutor()
    assert swept(STUDY, path, rest) == (STUDY.num_points - 3, table)
    assert set(rest.asked).isdisjoint(job.key for job in jobs_of(STUDY)[:3])


@pytest.mark.parametrize("num_at_once", [1, 2])
def test_a_point_is_on_disk_before_the_next_begins(num_at_once: int, tmp_path: Path) -> None:
    """Whenever a point begins, all but as many as may be computed beside it are in the file."""
    path, kept = tmp_path / "study.sqlite", list[int]()

    class Watching(CountingExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            kept.append(len(points_kept(path)))
            return super().submit(fn, *args, **kwargs)

    swept(STUDY, path, Watching(), num_at_once)
    assert len(kept) == STUDY.num_points
    assert all(number - place < num_at_once for number, place in enumerate(kept))


def test_a_search_that_is_stopped_is_no_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C after a candidate has run whole, when a plan could be given, ends the sweep and keeps
    nothing of that search.
    """
    told = Hunt._tell
    num_steps = 0

    def tell(hunt: Hunt, doing: str, num_done: int, num_in_all: int) -> None:
        nonlocal num_steps
        told(hunt, doing, num_done, num_in_all)
        num_steps += bool(hunt.standing())
        if num_steps == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Hunt, "_tell", tell)
    path = tmp_path / "study.sqlite"
    with pytest.raises(KeyboardInterrupt):
        swept(small_study("gpu.memory_bytes=16GB"), path, InlineExecutor())
    assert num_steps == 3
    assert points_kept(path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_what_is_being_kept(number: signal.Signals) -> None:
    """It arrives inside and takes effect right after; handlers are as before."""
    heard: list[int] = []
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with undisturbed():
            signal.raise_signal(number)
            assert heard == []
        assert heard == [number]
        signal.raise_signal(number)
        assert heard == [number, number]
    finally:
        signal.signal(number, before)


@pytest.mark.slow
def test_a_killed_sweep_resumes(tmp_path: Path) -> None:
    """SIGKILL in the middle: its workers end too, only the missing points are computed, and the
    table is that of a whole sweep.
    """
    path, study = tmp_path / "study.sqlite", small_study(*LONG_VARY)
    script = tmp_path / "sweeper.py"
    script.write_text(SWEEPER, encoding="utf-8")
    sweeper = subprocess.Popen(
        [sys.executable, str(script), str(path), *LONG_VARY],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(points_kept(path)) >= 5)
    finally:
        os.kill(sweeper.pid, signal.SIGKILL)
        sweeper.wait()
    wait_until(lambda: not has_processes(sweeper.pid))
    kept = set(points_kept(path))
    assert 5 <= len(kept) < study.num_points
    rest = CountingExecutor()
    num_computed, outcomes = swept(study, path, rest)
    assert num_computed == study.num_points - len(kept)
    assert kept.isdisjoint(rest.asked)
    assert outcomes == swept(study, tmp_path / "whole.sqlite", InlineExecutor())[1]


def test_a_worker_that_dies_is_one_line(tmp_path: Path) -> None:
    """A process that is killed from outside ends the sweep with an error that says how to go on."""
    with ProcessPoolExecutor(1) as executor:
        executor.submit(os.getpid).result()
        for process in executor._processes.values():
            process.kill()
        with pytest.raises(InputError, match=r"lost the workers .*the same command goes on"):
            swept(STUDY, tmp_path / "study.sqlite", executor)


def test_another_study_is_refused(tmp_path: Path) -> None:
    """One line says what differs."""
    path = tmp_path / "study.sqlite"
    with open_store(path, IDENTITY):
        pass
    other = Keys("latency", STUDY.version).identity(BASE)
    with (
        pytest.raises(
            InputError, match="holds another study: its objective differs; name another folder"
        ),
        open_store(path, other),
    ):
        pass


def test_points_of_an_earlier_format_are_not_trusted(tmp_path: Path) -> None:
    """A file in which a stopped search could pass for a finished point is refused, and says so;
    nothing in it changes.
    """
    path = tmp_path / "study.sqlite"
    with open_store(path, IDENTITY):
        pass
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE study SET value = 'rosin-study/1' WHERE part = 'format'")
    before = path.read_bytes()
    with (
        pytest.raises(InputError, match=r"'rosin-study/1', of which the points are not trusted"),
        open_store(path, IDENTITY),
    ):
        pass
    assert path.read_bytes() == before


def _write_words(path: Path) -> None:
    path.write_text("these are words, and no database at all", encoding="utf-8")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:4200] = bytes(104)
    path.write_bytes(data)


def _make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def _make_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _run_sql(statement: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(statement)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "words": _write_words,
    "cut": _cut,
    "flipped": _flip,
    "folder": _make_folder,
    "fifo": _make_fifo,
    "other table": _run_sql("ALTER TABLE points RENAME COLUMN outcome TO result"),
    "row of words": _run_sql("UPDATE points SET outcome = 'garbage'"),
    "row of another kind": _run_sql("UPDATE points SET outcome = '{\"is_feasible\": 7}'"),
    "row that ends early": _run_sql("UPDATE points SET outcome = substr(outcome, 1, 100)"),
    "row of bytes": _run_sql("UPDATE points SET outcome = x'ff00fe'"),
    "row that is no text": _run_sql("UPDATE points SET outcome = CAST(x'ff00fe' AS TEXT)"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line(damage: Callable[[Path], None], tmp_path: Path) -> None:
    """It is said to be corrupt, by name, before anything is computed."""
    path = tmp_path / "study.sqlite"
    with open_store(path, IDENTITY) as store:
        [job] = jobs_of(small_study("batch=1"))
        store.add(
            job.key, job.setting, Outcome(is_feasible=False, reason="too big", missing_bytes=1)
        )
    damage(path)
    with (
        pytest.raises(
            InputError, match=r"^corrupt: .*study\.sqlite: .*name another folder"
        ) as caught,
        open_store(path, IDENTITY),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [_write_words, _make_folder, _make_fifo])
def test_a_damaged_lock_is_one_line(damage: Callable[[Path], None], tmp_path: Path) -> None:
    """It is named, and may be deleted."""
    damage(tmp_path / ".study.lock")
    with (
        pytest.raises(InputError, match=r"^corrupt: .*\.study\.lock: .*(delete|remove) it"),
        open_store(tmp_path / "study.sqlite", IDENTITY),
    ):
        pass


def test_two_sweeps_never_share_a_file(tmp_path: Path) -> None:
    """The second is refused while the first lives, and may read; then it is welcome."""
    path = tmp_path / "study.sqlite"
    with open_store(path, IDENTITY):
        assert points_kept(path) == []
        with (
            pytest.raises(InputError, match="is in use by another sweep"),
            open_store(path, IDENTITY),
        ):
            pass
    with open_store(path, IDENTITY):
        pass


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    """After a sweep the study is one file, besides the empty lock."""
    swept(small_study("batch=1"), tmp_path / "study.sqlite", InlineExecutor())
    assert {path.name: path.stat().st_size > 0 for path in tmp_path.iterdir()} == {
        "study.sqlite": True,
        ".study.lock": False,
    }
    with sqlite3.connect(tmp_path / "study.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_worker_with_other_files_refuses() -> None:
    """A key that the worker would not give is an error, not a point of another study."""
    [job] = jobs_of(small_study("batch=1"))
    with pytest.raises(InputError, match="another version of the program, or other files"):
        evaluate(replace(job, key="0" * 64))


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Dask the error names the extra."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(InputError, match=r"pip install 'rosin\[cluster\]'"),
        cluster_crew("tcp://localhost:1"),
    ):
        pass


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_table(tmp_path: Path) -> None:
    """One of two Dask workers is killed in the middle; nothing is lost, and the table is that of
    this process.
    """
    distributed = pytest.importorskip("distributed", reason="needs Dask, from the extra `cluster`")
    study, path = small_study(*LONG_VARY), tmp_path / "study.sqlite"
    identity = Keys(study.objective, study.version).identity(study.base)
    with (
        _cluster(distributed) as cluster,
        cluster_crew(cluster.scheduler_address) as crew,
        open_store(path, identity) as store,
    ):
        finished: list[str] = []

        def on_point(job: object, outcome: object) -> None:
            finished.append("one")
            if len(finished) == 5:
                os.kill(cluster.workers[0].pid, signal.SIGKILL)

        assert (
            sweep(jobs_of(study), store, crew.executor, on_point, at_once=crew.at_once)
            == study.num_points
        )
        outcomes = list(store.outcomes(job.key for job in jobs_of(study)))
    assert outcomes == swept(study, tmp_path / "whole.sqlite", InlineExecutor())[1]


@contextmanager
def _cluster(distributed: object) -> Iterator[object]:
    settings = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
    }
    with distributed.LocalCluster(**settings) as cluster:  # type: ignore[attr-defined]
        yield cluster
