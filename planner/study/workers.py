"""Executors on this computer.

Worker processes start with this module, so it imports nothing that reads the environment early.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from planner.search.interruption import ignore_signals, signals_blocked

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class ShieldedPool(ProcessPoolExecutor):
    """A pool that starts its processes as work comes, with signals blocked until they can handle
    them.
    """

    def __init__(self, num_workers: int) -> None:
        """Start with no process; there are at most ``num_workers``."""
        # A forked process would inherit locks that a thread of ours may hold at that moment.
        super().__init__(num_workers, mp_context=get_context("spawn"), initializer=prepare_worker)
        self._started: set[BaseProcess] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit the call, which may start a process, and return its future."""
        # Python's own helper, started with the first process, would unblock the signals.
        resource_tracker.ensure_running()
        with signals_blocked():
            future = super().submit(fn, *args, **kwargs)
        self._started.update((self._processes or {}).values())
        return future

    def kill(self) -> None:
        """End every process at once.

        Python's own list of them, public since 3.14, is empty while it waits for one to end.
        """
        for worker in self._started:
            worker.kill()


@contextmanager
def process_pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of that many processes of one thread each.

    The processes start afresh, and inherit nothing but the environment. When all goes well, the
    processes are told to end. When it does not, they are killed: a second Ctrl-C would break the
    waiting for them.
    """
    pool = ShieldedPool(num_workers)
    try:
        yield pool
    except BaseException:
        pool.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def prepare_worker() -> None:
    """Prepare a worker: it has one thread, ignores signals, and does not outlive the parent."""
    ignore_signals()
    # Libraries read these when they are first loaded, so this comes before anything imports them.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this worker when its parent dies.

    A killed parent closes no queue, so its workers would wait for ever.
    """
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
