"""Running a study: the points that are missing, on any executor, each kept as it finishes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from itertools import islice

from hwprofiles import InputError
from planner.search.interruption import undisturbed
from planner.study.cluster import error_words
from planner.study.outcome import Outcome, PointJob, evaluate
from planner.study.store import PointStore

OnPoint = Callable[[PointJob, Outcome], None]
AtOnce = Callable[[], int]

DASK_LOSSES = frozenset({"KilledWorker", "CommClosedError", "FutureCancelledError"})


def one_at_a_time() -> int:
    """Return 1: the executor computes one point at once."""
    return 1


def sweep(
    jobs: Iterable[PointJob],
    store: PointStore,
    executor: Executor,
    on_point: OnPoint | None = None,
    *,
    at_once: AtOnce = one_at_a_time,
) -> int:
    """Plan the points that the store lacks, each once, and return how many that were.

    What the store holds afterwards does not depend on the executor or on the order in which it
    finishes. ``at_once`` returns how many points the executor computes at once by now. The executor
    is never handed more, so that a point is kept before the next begins in its place. If the sweep
    ends early, by an error or Ctrl-C, every finished point is kept. Raises InputError where a
    worker is lost.
    """
    missing = _missing(jobs, store)
    running: dict[Future[Outcome], PointJob] = {}
    num_done = 0
    try:
        while True:
            # At least one: a pool whose workers are still coming would otherwise get none.
            for job in islice(missing, max(0, max(1, at_once()) - len(running))):
                running[executor.submit(evaluate, job)] = job
            if not running:
                return num_done
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                # Ctrl-C between taking the point off the list and keeping it would lose it.
                with undisturbed():
                    _keep(future, running.pop(future), store, on_point)
                num_done += 1
    except BaseException as error:
        with undisturbed():
            _give_up(running, store)
        if is_loss(error):
            raise InputError(
                f"lost the workers ({error_words(error)}); finished points are kept, the same command goes on"
            ) from None
        raise


def is_loss(error: BaseException) -> bool:
    """Whether the error says that a worker is gone, rather than that a point failed.

    Dask's errors are told by their names.
    """
    return (
        isinstance(error, BrokenExecutor | CancelledError | ConnectionError)
        or type(error).__name__ in DASK_LOSSES
    )


def _missing(jobs: Iterable[PointJob], store: PointStore) -> Iterator[PointJob]:
    known = store.kept_keys()
    for job in jobs:
        if job.key not in known:
            # Two settings may mean the same: the second would be planned for nothing.
            known.add(job.key)
            yield job


def _keep(
    future: Future[Outcome], job: PointJob, store: PointStore, on_point: OnPoint | None
) -> None:
    outcome = future.result()
    store.add(job.key, job.setting, outcome)
    if on_point:
        on_point(job, outcome)


def _give_up(running: dict[Future[Outcome], PointJob], store: PointStore) -> None:
    """Take back what has not begun, and keep what finished meanwhile.

    What runs is left to its worker.
    """
    for future in running:
        future.cancel()
    known = store.kept_keys()
    for future, job in running.items():
        if (
            future.done()
            and not future.cancelled()
            and future.exception() is None
            and job.key not in known
        ):
            store.add(job.key, job.setting, future.result())
