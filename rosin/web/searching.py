"""The search of all policies, one at a time, in its own process so that the page stays quick."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.search.setting import Setting
from rosin.web.answering import setting_words

MOST_READ_BYTES = 10_000
KEPT = 32
"""The number of results that are kept: those asked for last."""
PREFIX = "error: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """The state of a search, ``seconds`` after it began.

    ``result`` is the document of `rosin plan --json`; ``reason`` says why there is none. Both are
    None while the search runs.
    """

    seconds: float
    result: dict[str, Any] | None = None
    reason: str | None = None

    @property
    def is_running(self) -> bool:
        """Return whether the search is still running."""
        return self.result is None and self.reason is None


@dataclass(slots=True)
class _Running:
    """A search under way; its process writes the answer into its folder."""

    key: Setting
    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]
    began_s: float


class SearchDesk:
    """The place that starts searches and keeps their results, one search at a time.

    A search for another question ends the search under way. ``clock`` gives seconds from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a search."""
        self._clock = clock
        # The server answers requests in several threads.
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._found: OrderedDict[Setting, Searched] = OrderedDict()

    def start(self, setting: Setting) -> Searched:
        """Start a search of the setting, unless its result is known or it is under way."""
        with self._lock:
            known = self._state(setting)
            if known is not None:
                return known
            self._end()
            self._running = self._begun(setting)
            return Searched(seconds=0.0)

    def state(self, setting: Setting) -> Searched | None:
        """Return the state of a search; None if it was not started, or another search ended it."""
        with self._lock:
            return self._state(setting)

    def close(self) -> None:
        """End the search under way."""
        with self._lock:
            self._end()

    def _begun(self, setting: Setting) -> _Running:
        folder = tempfile.TemporaryDirectory(prefix="rosin-search-")
        target = str(Path(folder.name) / "plan.json")
        words = ["plan", *setting_words(setting), "--quiet", "--json", target]
        errors = Path(folder.name) / "errors.txt"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "rosin", *words],
                stdin=subprocess.DEVNULL,
                # Nobody reads while the search runs: a pipe would fill up and stop it.
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # A package that is not installed is found by the search as it was by the page.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return _Running(key=setting, process=process, folder=folder, began_s=self._clock())

    def _state(self, setting: Setting) -> Searched | None:
        self._collect()
        if self._running is not None and self._running.key == setting:
            return Searched(seconds=self._clock() - self._running.began_s)
        found = self._found.get(setting)
        if found is not None:
            # The results that were asked for last are dropped last.
            self._found.move_to_end(setting)
        return found

    def _collect(self) -> None:
        """Keep the result of the search under way, if it has ended."""
        running = self._running
        if running is None or running.process.poll() is None:
            return
        self._running = None
        self._found[running.key] = self._ended(running)
        while len(self._found) > KEPT:
            self._found.popitem(last=False)

    def _ended(self, running: _Running) -> Searched:
        seconds = self._clock() - running.began_s
        try:
            # Of its errors the end is enough, however much was said before.
            said = (Path(running.folder.name) / "errors.txt").read_bytes()[-MOST_READ_BYTES:]
            if running.process.returncode == 0:
                text = (Path(running.folder.name) / "plan.json").read_text(encoding="utf-8")
                return Searched(seconds=seconds, result=json.loads(text))
        finally:
            running.folder.cleanup()
        # Failures of commands are one line; the last one, should anything have been said before.
        lines = said.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1].removeprefix(PREFIX) if lines else "the search ended without a word"
        return Searched(seconds=seconds, reason=reason)

    def _end(self) -> None:
        """End the process of the search, wait for its end, and remove its folder."""
        running = self._running
        if running is None:
            return
        self._running = None
        running.process.terminate()
        running.process.wait()
        running.folder.cleanup()
