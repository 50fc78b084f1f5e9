"""One line of a terminal that says how far something is, there only while it lasts."""

import sys
import threading
import time
from collections.abc import Callable

CLEAR = "\r\x1b[K"
MAX_CHARACTERS = 79
"""A line that wraps could not be erased by a carriage return."""
TICK_S = 1.0
"""Somebody who waits is never without a sign of life for two of them."""


class ProgressLine:
    """A line on stderr; silent where ``is_shown`` is false.

    Between two changes it counts the seconds since the last one, so that a long step is never a
    silent one.
    """

    def __init__(self, *, is_shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing shown yet; ``clock`` gives seconds."""
        self._is_shown = is_shown
        self._now_s = clock
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticking: threading.Thread | None = None
        self._last_line = ""
        self._changed_s = 0.0

    def show(self, line: str) -> None:
        """Put the line in place of the one before."""
        if not self._is_shown or self._ended.is_set():
            return
        with self._lock:
            self._last_line = line
            self._changed_s = self._now_s()
            _print(line[:MAX_CHARACTERS])
        if self._ticking is None:
            # A daemon, so that a command that dies of a signal does not wait for it.
            self._ticking = threading.Thread(target=self._tick_on, daemon=True)
            self._ticking.start()

    def tick(self) -> None:
        """Show for how long the line has been the same."""
        with self._lock:
            # The line may have been taken away while this waited for it.
            if self._ended.is_set():
                return
            since = f" ({self._now_s() - self._changed_s:.0f} s)"
            _print(self._last_line[: MAX_CHARACTERS - len(since)] + since)

    def close(self) -> None:
        """Take the line away."""
        with self._lock:
            is_there = self._is_shown and not self._ended.is_set()
            self._ended.set()
            if is_there:
                _print("")
        if self._ticking is not None:
            self._ticking.join()

    def _tick_on(self) -> None:
        while not self._ended.wait(TICK_S):
            self.tick()


def _print(line: str) -> None:
    print(CLEAR + line, end="", file=sys.stderr, flush=True)


def bar(done: int, width: int) -> str:
    """A bar with that many places done."""
    return f"[{'#' * done}{'.' * (width - done)}]"
