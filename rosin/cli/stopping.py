"""Ctrl-C, SIGTERM and a terminal that is closed: each ends a command as an interruption does, and a
study once what is being written is written.
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
"""What asks a command to stop; Windows has no SIGHUP."""


INTERRUPTED_CODE = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


def say_interrupted() -> int:
    """Say on stderr, if anybody hears, that the command was ended, and return its exit code."""
    with suppress(OSError):
        print("error: interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED_CODE


def end_as_interrupted() -> None:
    """Let SIGTERM, and SIGHUP of a terminal that is closed, do what Ctrl-C does: temporary files and
    programs that were started go with the command. One that is ignored, as `nohup` does, stays so.
    """
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def hush_interrupted_callbacks() -> None:
    """Show no traceback of an interruption that Python meets inside a callback of its own.

    A finalizer, or what runs at exit, cannot hand the exception on, so Python prints and drops it;
    a user who pressed Ctrl-C twice would read a page about locks. Other errors are shown as before.
    """
    show = sys.unraisablehook

    def show_unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
        """Show the error except for an interruption."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            show(unraisable)

    sys.unraisablehook = show_unless_interrupted


class Stop:
    """Whether somebody asked to stop. The signal raises KeyboardInterrupt where it arrives.

    Python drops what is raised inside some callbacks of its own, so that a loop that goes from point to
    point asks again.
    """

    def __init__(self) -> None:
        """Start before anybody has asked to stop."""
        self._is_asked = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self._is_asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt where somebody asked."""
        if self._is_asked:
            raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Hear these signals inside. A signal that the parent process ignores, as `nohup` does, stays
    ignored.
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
