"""Ctrl-C, SIGTERM and a closed terminal, held back where they would lose a finished point."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that ask a study to stop."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let what runs inside come to its end; a signal that arrives meanwhile takes effect right
    after.

    Python delivers signals to the main thread alone, so that in any other there is nothing to hold
    back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        """Note the signal for later."""
        arrived.append(number)

    before = {each: signal.signal(each, hold) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        # One is enough: a user who pressed twice wanted it to stop, too.
        if arrived:
            signal.raise_signal(arrived[0])


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals while processes start, until these have said what to do on a signal.

    A process inherits what is blocked. Without this, Ctrl-C meets workers that still import, and
    each shows a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Ignore signals in a worker: the parent stops, and ends its workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
