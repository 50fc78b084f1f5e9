"""Measure points a second of a study: one process, two, and two Dask workers if Dask is installed.

    python benchmarks/study_speed.py

Before the timing begins, workers are started, and each has planned one point.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from planner.search.plan import Setting
from planner.study.axes import parse_axes
from planner.study.cluster import cluster_crew
from planner.study.outcome import Outcome, PointJob, evaluate
from planner.study.store import open_store
from planner.study.study import Keys, Study
from planner.study.sweep import sweep
from planner.study.workers import process_pool

STUDY = Study(
    base=Setting(
        model="mixtral-8x7b", machine="desktop-rtx-4090-ddr5", prompt_tokens=128, output_tokens=128
    ),
    axes=parse_axes(["link.h2d.bytes_per_s=5e9:60e9:8", "gpu.memory_bytes=8GB:32GB:5"]),
    objective="throughput",
    version="benchmark",
)


def points_per_s(executor: Executor, num_workers: int) -> tuple[float, list[Outcome]]:
    """Return the points a second over the whole study, with a store on disk, and the outcomes."""
    keys = Keys(STUDY.objective, STUDY.version)
    settings = [point.setting for point in STUDY.points()]
    jobs = [
        PointJob(
            setting=setting, objective=STUDY.objective, version=STUDY.version, key=keys.key(setting)
        )
        for setting in settings
    ]
    for future in [executor.submit(evaluate, job) for job in jobs[: 2 * num_workers]]:
        future.result()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder) / "study.sqlite", keys.identity(STUDY.base)) as store,
    ):
        start_s = time.perf_counter()
        sweep(jobs, store, executor, at_once=lambda: num_workers)
        took_s = time.perf_counter() - start_s
        return len(jobs) / took_s, list(store.outcomes(job.key for job in jobs))


def main() -> None:
    """Print one line for each kind of executor."""
    rates: list[float] = []
    tables: list[list[Outcome]] = []
    for num_workers in (1, 2):
        with process_pool(num_workers) as pool:
            rate, table = points_per_s(pool, num_workers)
        print(
            f"{num_workers} processes: {rate:.2f} points/s, {rate / (rates or [rate])[0]:.2f} times one",
            flush=True,
        )
        rates.append(rate)
        tables.append(table)
    if find_spec("distributed") is not None:
        from distributed import LocalCluster

        # Dask's classes have no types of their own.
        started: Callable[..., Any] = LocalCluster
        cluster = started(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, cluster_crew(cluster.scheduler_address) as crew:
            rate, table = points_per_s(crew.executor, 2)
        print(f"2 Dask workers: {rate:.2f} points/s, {rate / rates[0]:.2f} times one process")
        tables.append(table)
    assert all(table == tables[0] for table in tables), "the tables differ"


if __name__ == "__main__":
    main()
