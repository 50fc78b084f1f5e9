"""What runs over the same draw have in common, computed once while there is room to keep it."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")


class Shared:
    """Values by the draw that they are of and a key that says all else they depend on; at most
    ``max_bytes`` of arrays are kept.

    What was asked for longest ago goes first, and what is larger by itself is never kept. Several
    threads may ask; nobody may write to what they get. Two that ask for the same at once both
    compute it.
    """

    def __init__(self, max_bytes: int) -> None:
        """Nothing kept yet."""
        self.max_bytes = max_bytes
        self._lock = Lock()
        self._num_bytes = 0
        self._kept: OrderedDict[Hashable, tuple[NDArray[Any], Any, int]] = OrderedDict()

    def get(self, tokens: NDArray[np.int32], key: Hashable, make: Callable[[], Value]) -> Value:
        """What ``make`` gives for that key and the draw of those ``tokens``, which are told apart
        by identity.
        """
        # No other array has this identity: an entry keeps its array alive.
        place = id(tokens), key
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return cast(Value, self._kept[place][1])
        # Outside the lock, so that threads that make something else need not wait.
        value = make()
        size = num_array_bytes(value)
        with self._lock:
            if place not in self._kept and size <= self.max_bytes:
                self._kept[place], self._num_bytes = (tokens, value, size), self._num_bytes + size
                while self._num_bytes > self.max_bytes:
                    self._num_bytes -= self._kept.popitem(last=False)[1][2]
        return value


def num_array_bytes(value: object) -> int:
    """Bytes of an array, or of the arrays that are fields of a dataclass."""
    if is_dataclass(value):
        return sum(num_array_bytes(getattr(value, item.name)) for item in fields(value))
    return value.nbytes if isinstance(value, np.ndarray) else 0
