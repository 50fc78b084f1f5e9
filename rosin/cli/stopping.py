"""Ctrl-C, SIGTERM and the hang-up of a terminal (SIGHUP), which all end a command in one way.

A study first finishes the write that is under way.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""The signals that ask a command to stop. Windows has no SIGHUP."""


INTERRUPTED_CODE = 130
"""The exit code of a command that Ctrl-C ended: 128 + SIGINT, as shells report it."""


def say_interrupted() -> int:
    """Print to stderr, if possible, that the command was interrupted; return its exit code."""
    with suppress(OSError):
        print("error: interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED_CODE


def end_as_interrupted() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    Temporary files and started programs then end with the command. A signal that is ignored, as
    under `nohup`, stays ignored.
    """
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def hush_interrupted_callbacks() -> None:
    """Print no traceback of a KeyboardInterrupt that is raised inside one of Python's callbacks.

    A finalizer or an exit function cannot pass the exception on, so Python prints and drops it. A
    user who presses Ctrl-C twice would read a page about locks. Other errors are printed as before.
    """
    show = sys.unraisablehook

    def show_unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
        """Print the error unless it is a KeyboardInterrupt."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            show(unraisable)

    sys.unraisablehook = show_unless_interrupted


class Stop:
    """The record of a request to stop. A signal also raises KeyboardInterrupt where it arrives.

    Python drops an exception that is raised inside some of its callbacks. A loop over points
    therefore calls ``check`` as well.
    """

    def __init__(self) -> None:
        """Start without a request to stop."""
        self._is_asked = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Record the request to stop, and raise KeyboardInterrupt."""
        self._is_asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody has asked to stop."""
        if self._is_asked:
            raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Handle the stopping signals inside the ``with`` block.

    A signal that the parent process ignores, as `nohup` does, stays ignored. Only the main thread
    handles signals.
    """
    stop = Stop()
    # Python lets only the main thread set signal handlers.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop.hear) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
