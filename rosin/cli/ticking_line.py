"""One line of a terminal that says by itself that a command is still at work."""

import sys
import threading
import time
from collections.abc import Callable

CLEAR = "\r\x1b[K"
TICK_S = 1.0
"""Somebody who waits is never without a sign of life for two of them."""
WIDTH = 79
"""A line that wraps could not be erased by a carriage return."""


class TickingLine:
    """A line on stderr, there only while something lasts; silent where ``is_shown`` is false.

    Between two changes it counts the seconds since the last one.
    """

    def __init__(self, *, is_shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing shown yet; ``clock`` gives seconds."""
        self._is_shown = is_shown
        self._clock = clock
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._line = ""
        self._changed_s = 0.0

    def show(self, line: str) -> None:
        """Show that line in place of the one before."""
        if not self._is_shown or self._ended.is_set():
            return
        with self._lock:
            self._line = line
            self._changed_s = self._clock()
            _print(line[:WIDTH])
        if self._thread is None:
            # A daemon, so that a command that dies of a signal does not wait for it.
            self._thread = threading.Thread(target=self._tick, daemon=True)
            self._thread.start()

    def tick(self) -> None:
        """Show how long the line has been the same."""
        with self._lock:
            # The line may have been taken away while this waited for it.
            if self._ended.is_set():
                return
            since = f" ({self._clock() - self._changed_s:.0f} s)"
            _print(self._line[: WIDTH - len(since)] + since)

    def close(self) -> None:
        """Take the line away."""
        with self._lock:
            is_there = self._is_shown and not self._ended.is_set()
            self._ended.set()
            if is_there:
                _print("")
        if self._thread is not None:
            self._thread.join()

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            self.tick()


def _print(line: str) -> None:
    print(CLEAR + line, end="", file=sys.stderr, flush=True)
