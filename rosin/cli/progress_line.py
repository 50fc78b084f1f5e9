"""One line of a terminal with the progress of some work; the line disappears at the end."""

import sys
import threading
import time
from collections.abc import Callable

CLEAR = "\r\x1b[K"
MAX_CHARACTERS = 79
"""The longest line; a carriage return could not erase a line that wraps."""
TICK_S = 1.0
"""Seconds between two updates of an unchanged line."""


class ProgressLine:
    """A line on stderr; nothing is printed if ``is_shown`` is false.

    While the line stays the same, it counts the seconds since its last change, so that a long step
    shows signs of life.
    """

    def __init__(self, *, is_shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a line; ``clock`` gives seconds."""
        self._is_shown = is_shown
        self._now_s = clock
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticking: threading.Thread | None = None
        self._last_line = ""
        self._changed_s = 0.0

    def show(self, line: str) -> None:
        """Replace the line on the terminal."""
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
        """Show the number of seconds for which the line has stayed the same."""
        with self._lock:
            # The line may have been taken away while this waited for it.
            if self._ended.is_set():
                return
            since = f" ({self._now_s() - self._changed_s:.0f} s)"
            _print(self._last_line[: MAX_CHARACTERS - len(since)] + since)

    def close(self) -> None:
        """Erase the line and end its updates."""
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
    """Return a progress bar with ``done`` of ``width`` places filled."""
    return f"[{'#' * done}{'.' * (width - done)}]"
