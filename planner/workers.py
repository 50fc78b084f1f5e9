"""Executors on this computer. Workers start with this module, so it imports nothing that reads the environment early."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@contextmanager
def process_pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """That many processes of one thread each, started afresh (nothing is inherited but the environment).

    They are told to end when all goes well, and killed when it does not: waiting for them is what a second Ctrl-C would break.
    """
    pool = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"), initializer=prepare_worker)
    try:
        yield pool
    except BaseException:
        for worker in list((pool._processes or {}).values()):  # public only since Python 3.14, as kill_workers()
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def prepare_worker() -> None:
    """In a worker: one thread, Ctrl-C is the parent's business, and no life after the parent's."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A killed parent closes no queue, so its workers would wait for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
