"""Memory for the large arrays of one run after another.

The operating system hands out fresh memory page by page and clears each. For a run of some hundred
thousand tasks that takes a quarter of all its time.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Room:
    """Arrays by name. Asking for a name again returns the same memory: what was made of the array
    before is then lost. One run at a time may use a room.
    """

    def __init__(self, *, is_reused: bool = True) -> None:
        """Nothing handed out yet; unless it ``is_reused``, every array has memory of its own."""
        self._is_reused = is_reused
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def empty(self, name: str, shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array that holds anything at all, as ``np.empty`` makes it."""
        if not self._is_reused:
            return np.empty(shape, dtype)
        size = prod((shape,) if isinstance(shape, int) else shape) * np.dtype(dtype).itemsize
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = np.empty(size, np.uint8)
        found: NDArray[Any] = kept[:size].view(dtype).reshape(shape)
        return found


OWN_MEMORY = Room(is_reused=False)
"""For a run that is kept."""


class Rooms:
    """A room for each run that goes on at the same time, where only the figures of runs are kept."""

    def __init__(self) -> None:
        """None made yet."""
        self._idle: deque[Room] = deque()

    @contextmanager
    def lent(self) -> Iterator[Room]:
        """A room that nobody else uses meanwhile. Several threads may ask."""
        # The one used last: its memory is the likeliest to be in a processor's cache.
        try:
            room = self._idle.pop()
        except IndexError:
            room = Room()
        try:
            yield room
        finally:
            self._idle.append(room)
