"""Memory for the large arrays of one run after another.

The operating system hands out fresh memory page by page, and clears each page. For a run of some
hundred thousand tasks, this takes a quarter of the run's time.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Room:
    """Arrays by name.

    Asking for a name again returns the same memory, so the array before is lost. One run at a time
    may use a room.
    """

    def __init__(self, *, is_reused: bool = True) -> None:
        """Begin without memory; unless the room ``is_reused``, every array has memory
        of its own.
        """
        self._is_reused = is_reused
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def empty(self, name: str, shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array with arbitrary content, as ``np.empty`` does."""
        if not self._is_reused:
            return np.empty(shape, dtype)
        size = prod((shape,) if isinstance(shape, int) else shape) * np.dtype(dtype).itemsize
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = np.empty(size, np.uint8)
        found: NDArray[Any] = kept[:size].view(dtype).reshape(shape)
        return found


OWN_MEMORY = Room(is_reused=False)
"""The room of runs that are kept: every array has memory of its own."""


class Rooms:
    """One room for each run under way at the same time, if only the figures of runs are kept."""

    def __init__(self) -> None:
        """Begin without rooms."""
        self._idle: deque[Room] = deque()

    @contextmanager
    def lent(self) -> Iterator[Room]:
        """Lend a room that nobody else uses meanwhile. Several threads may ask."""
        # The one used last: its memory is the likeliest to be in a processor's cache.
        try:
            room = self._idle.pop()
        except IndexError:
            room = Room()
        try:
            yield room
        finally:
            self._idle.append(room)
